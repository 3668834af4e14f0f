"""Lists in time: at the deadline, what is ready becomes the answer.

A thread makes lists, those of requests that come at the same time together. Between stages it
looks at the clock, and leaves out what there is no more time for. Should one stage hang (a state
that does not answer, a source), another thread makes a list of what the first one has found so far,
and that one's is forgotten.
"""

import asyncio
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from avrec.checks import FAULTS
from avrec.errors import AvrecError
from avrec.serving.lane import Lane, release, settle
from avrec.serving.models import Make, Models
from avrec.serving.people import Wish
from avrec.serving.record import Made, Records
from avrec.serving.service import Asked, Progress, recommending
from avrec.stopwatch import Stopwatch

TRY, WAIT = 0.7, 0.9
"""Shares of the time after which no more stages begin, and after which the list is waited for no
longer; the rest is for finishing."""
SPARE_THREADS = 2
Result = TypeVar("Result")
THREADS = 32
"""Lists that are made alone, and threads that hang, at most."""
TOGETHER = 16
"""Lists that are made in one go, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadlines:
    """How long a list may take."""

    default_ms: int = 10_000
    """Milliseconds, where the request names none."""
    max_ms: int = 10_000
    """Most that a request may ask for; what is longer is cut to it."""

    def __post_init__(self) -> None:
        if not 1 <= self.default_ms <= self.max_ms:
            raise ValueError(
                f"default_ms must be in 1..{self.max_ms} (max_ms), got {self.default_ms}"
            )

    def seconds(self, asked_ms: int | None) -> float:
        """Time of a request."""
        return min(asked_ms or self.default_ms, self.max_ms) / 1000


@dataclass(slots=True)
class _Job:
    """One list in the making; `made` is the one that counts, `is_own` where nobody hurried."""

    wish: Wish
    make: Make
    progress: Progress
    models: Models
    made: Made | None = None
    is_own: bool = False
    fault: Exception | None = None
    loop: AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    done: Future[Made | None] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def release(self) -> None:
        """Let whoever waits have the list, or what went wrong, or neither yet; on the loop."""
        settle(self.done, self.made, self.fault)

    def offer(self, made: Made, *, is_own: bool = True) -> tuple[Made, bool]:
        """Make a list the one that counts, unless there is one; give that, and whether it is it."""
        with self._lock:
            first = self.made is None
            self.made, self.is_own = self.made or made, self.is_own or (first and is_own)
            return self.made, first

    def hurry(self) -> tuple[Made, bool]:
        """Give the list if there is one, else one of what is ready, and say so."""
        if self.made is not None:
            return self.made, False
        progress = self.progress.hurried()
        service = progress.service or self.models.of(self.wish.user_id)
        made = Made(self.wish, service, self.make(service, progress), progress.watch)
        return self.offer(made, is_own=False)


class Lists:
    """Makes lists with whichever bundle is a person's.

    Args:
        models: who answers.
        deadlines: how long that may take.
        records: where lists go that are answered.
    """

    def __init__(self, models: Models, deadlines: Deadlines, records: Records) -> None:
        self._models, self._deadlines, self._records = models, deadlines, records
        self._threads = ThreadPoolExecutor(THREADS, "list")
        self._spare = ThreadPoolExecutor(SPARE_THREADS, "spare")
        self._lane = Lane(self._work, TOGETHER, self._threads)

    async def recommend(self, wish: Wish, deadline_ms: int | None = None) -> Made:
        """Make the list that is wished for, together with others; see `make`."""
        seconds = self._deadlines.seconds(deadline_ms)
        job = _Job(wish, recommending(wish), Progress(Stopwatch(TRY * seconds)), self._models)
        self._lane.add(job)
        return await self._awaited(job, seconds)

    async def make(self, wish: Wish, make: Make, deadline_ms: int | None = None) -> Made:
        """Make a list by itself. It is stored before it is answered, unless it is late.

        Args:
            wish: what is asked for.
            make: makes it.
            deadline_ms: milliseconds that it may take; None is the default.
        """
        seconds = self._deadlines.seconds(deadline_ms)
        job = _Job(wish, make, Progress(Stopwatch(TRY * seconds)), self._models)
        self._threads.submit(self._alone, job)
        return await self._awaited(job, seconds)

    async def in_time(self, work: Callable[[], Result], deadline_ms: int | None) -> Result | None:
        """Do what has no parts to leave out; None where it is not done at the deadline."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        await asyncio.wait({working}, timeout=WAIT * self._deadlines.seconds(deadline_ms))
        if working.done():
            return working.result()
        working.cancel()
        return None

    async def _awaited(self, job: _Job, seconds: float) -> Made:
        late = job.loop.call_later(WAIT * seconds, job.release)
        try:
            made = await job.done
        finally:
            late.cancel()
        return made or await self._hurried(job)

    async def _hurried(self, job: _Job) -> Made:
        made, late = await job.loop.run_in_executor(self._spare, job.hurry)
        if late:
            job.loop.run_in_executor(None, self._records.add, [made])
        return made

    def _work(self, jobs: Sequence[_Job]) -> None:
        """Make lists together, but those that somebody hurried; where that fails, each alone."""
        jobs = [job for job in jobs if job.made is None]
        try:
            with suppress(AvrecError, *FAULTS):
                answers = self._models.recommend([Asked(job.wish, job.progress) for job in jobs])
                for job, (service, ranked) in zip(jobs, answers, strict=True):
                    job.offer(Made(job.wish, service, ranked, job.progress.watch))
        finally:
            for job in jobs:
                if job.made is None:
                    self._threads.submit(self._alone, job)
            self._threads.submit(self._finish, [job for job in jobs if job.is_own])

    def _alone(self, job: _Job) -> None:
        try:
            service, ranked = self._models.answer(job.wish.user_id, job.make, job.progress)
            job.offer(Made(job.wish, service, ranked, job.progress.watch))
        except (AvrecError, *FAULTS) as error:
            job.fault = error
        self._finish([job] if job.is_own or job.fault else [])

    def _finish(self, jobs: Sequence[_Job]) -> None:
        """Store lists, and let those go on who wait for them."""
        try:
            self._records.add([job.made for job in jobs if job.made is not None])
        finally:
            release(jobs)
