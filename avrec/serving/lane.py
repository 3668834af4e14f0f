"""Jobs worked on some at a time, by one thread; by another one when the first is held up.

Whoever brings a job does not wait for company: a thread that is free begins at once, and the
busier it gets, the more are done together. Nor are jobs lost to a thread that hangs: the next one
that is brought after a while starts another.
"""

import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

Job = TypeVar("Job")
Result = TypeVar("Result")
PATIENCE_SECONDS = 0.1
"""How long a thread may be at some jobs before another is started for those that wait."""


class Awaited(Protocol):
    """What somebody on an event loop waits for."""

    @property
    def loop(self) -> AbstractEventLoop:
        """Where it is waited for."""
        ...

    def release(self) -> None:
        """Let whoever waits go on; on the loop."""
        ...


def release(jobs: Sequence[Awaited]) -> None:
    """Let those go on who wait for some jobs, from whichever thread."""

    def each(some: Sequence[Awaited]) -> None:
        for job in some:
            job.release()

    for loop in dict.fromkeys(job.loop for job in jobs):
        with suppress(RuntimeError):  # the loop has ended, and with it who waited
            loop.call_soon_threadsafe(each, [job for job in jobs if job.loop is loop])


def settle(done: "Future[Result]", result: Result, fault: Exception | None) -> None:
    """Let whoever waits have a result, or what went wrong; on the loop."""
    if done.done():
        return
    if fault is not None:
        done.set_exception(fault)
    else:
        done.set_result(result)


class Lane(Generic[Job]):
    """Jobs in the order in which they came.

    Args:
        work: does some jobs, and tells nobody here how that went.
        most: jobs that are done together, at most.
        threads: where it is done.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], None],
        most: int,
        threads: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._most, self._threads, self._clock = work, most, threads, clock
        self._lock, self._waiting = threading.Lock(), list[Job]()
        self._turn: object | None = None
        self._since = 0.0

    def add(self, job: Job) -> None:
        """Have a job done."""
        with self._lock:
            self._waiting.append(job)
            held_up = self._clock() - self._since > PATIENCE_SECONDS
            if self._turn is None or held_up:
                self._begin()

    def _begin(self) -> None:
        turn = self._turn = object()
        self._since = self._clock()
        self._threads.submit(self._run, turn)

    def _run(self, turn: object) -> None:
        """Work as long as there is something to do and nobody has taken over."""
        try:
            while jobs := self._next(turn):
                self._work(jobs)
        finally:
            self._end(turn)

    def _next(self, turn: object) -> Sequence[Job]:
        with self._lock:
            if self._turn is not turn:
                return ()
            jobs, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._since = self._clock()
            if not jobs:
                self._turn = None
            return jobs

    def _end(self, turn: object) -> None:
        """After work that failed, go on with what waits."""
        with self._lock:
            if self._turn is turn:
                self._turn = None
                if self._waiting:
                    self._begin()
