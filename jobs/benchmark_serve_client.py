"""A client that loads a service: closed loops, and open ones with Poisson arrivals.

HTTP/1.1 over kept connections, on one event loop that wakes to the microsecond. In an open loop a
request's time counts from when it was due, so waiting for a slow service is not left out.
"""

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from avrec.arrays import Values

HEAD_END, LENGTH = b"\r\n\r\n", b"content-length:"
LAST = b"\r\nconnection: close\r\n"
"""In the head of an answer after which the server takes no more requests on that connection."""
OK, DEGRADED = 200, -2
"""A good answer, and one that says that it lacks something for want of time."""
OPEN_CONNECTIONS = 64


class Reply(NamedTuple):
    """An answer; status 0 where the connection was lost."""

    status: int
    body: bytes


class Load(NamedTuple):
    """What a load saw: milliseconds of each good answer, the others' statuses, seconds in all."""

    milliseconds: Values
    errors: list[int]
    seconds: float

    @property
    def degraded(self) -> int:
        """Answers that lacked something; they are no good answers, and no failed ones."""
        return self.errors.count(DEGRADED)

    @property
    def failed(self) -> int:
        """Requests without an answer, or with another status."""
        return len(self.errors) - self.degraded

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return len(self.milliseconds) / self.seconds

    def at(self, percentile: float) -> float:
        """Milliseconds within which that many percent of the answers came; NaN for none."""
        if not len(self.milliseconds):
            return float("nan")
        return float(np.percentile(self.milliseconds, percentile))


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._awaited: asyncio.Future[Reply] | None = None

    async def ask(self, request: bytes) -> Reply:
        """Send a whole request and wait for its answer."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            if self._transport is None or self._transport.is_closing():
                self._transport, _ = await loop.create_connection(lambda: self, *self._where)
            self._awaited = loop.create_future()
            self._transport.write(request)
            return await self._awaited
        return Reply(0, b"")

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take in what came; an answer says its length."""
        self._got += data
        end = self._got.find(HEAD_END)
        if end < 0:
            return
        head = self._got[:end].lower() + b"\r\n"
        size = head.split(LENGTH, 1)[1].split(b"\r\n", 1)[0] if LENGTH in head else b"0"
        whole = end + len(HEAD_END) + int(size)
        if len(self._got) >= whole:
            body = bytes(self._got[whole - int(size) : whole])
            del self._got[:whole]
            if LAST in head:
                self.close()
            self._answer(Reply(int(head[9:12]), body))

    def connection_lost(self, _: Exception | None) -> None:
        """Answer who waits with status 0."""
        self._transport = None
        self._got.clear()
        self._answer(Reply(0, b""))

    def _answer(self, reply: Reply) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(reply)


class Target(NamedTuple):
    """Where requests go, with what key."""

    port: int
    key: str
    host: str = "127.0.0.1"

    def post(self, path: str, body: bytes) -> bytes:
        """Write a request with a JSON body."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


Ask = Callable[[Connection], Awaitable[int]]
"""Makes one or more requests on a connection; returns a status."""


def simple(requests: Iterator[bytes]) -> Ask:
    """Ask one request after the other."""

    async def ask(connection: Connection) -> int:
        reply = await connection.ask(next(requests))
        return DEGRADED if b'"degraded":["' in reply.body else reply.status

    return ask


def closed(target: Target, ask: Ask, *, connections: int, seconds: float) -> Load:
    """Let each connection ask again as soon as it was answered."""
    return _run(_closed(target, ask, connections, seconds))


def opened(target: Target, ask: Ask, *, per_second: float, seconds: float, seed: int = 0) -> Load:
    """Let requests come at a rate, whatever becomes of those before; they wait for a connection."""
    gaps = np.random.default_rng(seed).exponential(1 / per_second, int(per_second * seconds))
    return _run(_opened(target, ask, np.cumsum(gaps)))


def _run(load: Coroutine[None, None, Load]) -> Load:
    def precise() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=precise) as runner:
        return runner.run(load)


async def _closed(target: Target, ask: Ask, connections: int, seconds: float) -> Load:
    times, errors = list[float](), list[int]()
    begin = time.perf_counter()

    async def loop(connection: Connection) -> None:
        while (start := time.perf_counter()) < begin + seconds:
            status = await ask(connection)
            _note(status, start, times, errors)

    pool = [Connection(target.host, target.port) for _ in range(connections)]
    await asyncio.gather(*map(loop, pool))
    return _ended(pool, times, errors, begin)


async def _opened(target: Target, ask: Ask, due: Values) -> Load:
    times, errors = list[float](), list[int]()
    pool = [Connection(target.host, target.port) for _ in range(OPEN_CONNECTIONS)]
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for connection in pool:
        free.put_nowait(connection)
    begin = time.perf_counter()

    async def one(at: float) -> None:
        connection = await free.get()
        _note(await ask(connection), begin + at, times, errors)
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as tasks:
        for at in due:
            await asyncio.sleep(begin + at - time.perf_counter())
            tasks.create_task(one(at))
    return _ended(pool, times, errors, begin)


def _note(status: int, start: float, times: list[float], errors: list[int]) -> None:
    if status == OK:
        times.append(1000 * (time.perf_counter() - start))
    else:
        errors.append(status)


def _ended(pool: list[Connection], times: list[float], errors: list[int], begin: float) -> Load:
    for connection in pool:
        connection.close()
    return Load(np.array(times), errors, time.perf_counter() - begin)
