"""The load client against a server whose answers are known."""

import asyncio
import contextlib
import itertools
import threading

import pytest

from jobs.benchmark_serve_client import Target, closed, opened, simple

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def target():
    """Every tenth request is refused; after every 25th the server hangs up without an answer."""
    numbers = itertools.count(1)

    async def answer(reader, writer):
        with contextlib.closing(writer):
            while head := await reader.readline():
                while (line := await reader.readline()) != b"\r\n":
                    head += line
                await reader.readexactly(2)
                number = next(numbers)
                if number % 25 == 0:
                    break
                writer.write(BAD if number % 10 == 0 else GOOD[:20])
                await writer.drain()
                writer.write(b"" if number % 10 == 0 else GOOD[20:])

    with serving(answer) as target:
        yield target


@contextlib.contextmanager
def serving(answer):
    loop, started = asyncio.new_event_loop(), threading.Event()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=lambda: (loop.call_soon(started.set), loop.run_forever()))
    thread.start()
    started.wait()
    yield Target(server.sockets[0].getsockname()[1], "key")
    asyncio.run_coroutine_threadsafe(_end(server), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _end(server):
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def requests(target):
    return simple(itertools.repeat(target.post("/", b"{}")))


def test_an_open_loop_sends_what_is_due_and_counts_what_failed(target):
    load = opened(target, requests(target), per_second=500, seconds=0.4)
    assert len(load.milliseconds) + len(load.errors) == 200
    assert sorted(set(load.errors)) == [0, 503]
    assert load.errors.count(0) == 8
    assert load.errors.count(503) == 200 // 10 - 200 // 50
    assert load.at(50) > 0


def test_after_a_last_answer_a_connection_is_not_asked_again():
    async def answer_once(reader, writer):
        with contextlib.closing(writer):
            await reader.readuntil(b"{}")
            writer.write(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await reader.read(1)

    with serving(answer_once) as target:
        load = opened(target, requests(target), per_second=500, seconds=0.2)
    assert load.errors == []
    assert len(load.milliseconds) == 100


def test_a_closed_loop_goes_on_after_a_lost_connection(target):
    load = closed(target, requests(target), connections=4, seconds=1.5)
    assert len(load.milliseconds) > 25
    assert 0 in load.errors
    assert load.per_second == pytest.approx(len(load.milliseconds) / load.seconds)
