"""Lists in time: at the deadline, what is ready becomes the answer.

A thread makes the list. Between stages it looks at the clock, and leaves out what there is no more
time for. Should one stage hang (a state that does not answer, a source), another thread makes a
list of what the first one has found so far, and that one's is forgotten.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from avrec.recommend import Ranked
from avrec.serving.models import Models
from avrec.serving.service import Progress, Service
from avrec.stopwatch import Stopwatch

TRY, WAIT = 0.7, 0.9
"""Shares of the time after which no more stages begin, and after which the list is waited for no
longer; the rest is for finishing."""
SPARE_THREADS = 2
Result = TypeVar("Result")
THREADS = 32
"""Lists in the making; most of them wait for one another and are made together (`joint`)."""


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


class Made(NamedTuple):
    """A list, who made it, and how that went."""

    service: Service
    ranked: Ranked
    watch: Stopwatch


Make = Callable[[Service, Progress], Ranked]


class Lists:
    """Makes lists with whichever bundle is a person's.

    Args:
        models: who answers.
        deadlines: how long that may take.
    """

    def __init__(self, models: Models, deadlines: Deadlines) -> None:
        self._models, self._deadlines = models, deadlines
        self._threads = ThreadPoolExecutor(THREADS, "list")
        self._spare = ThreadPoolExecutor(SPARE_THREADS, "spare")

    async def make(
        self,
        user_id: str | None,
        make: Make,
        then: Callable[[Made], None],
        deadline_ms: int | None = None,
    ) -> Made:
        """Make a list, and do with it what is to be done `then`, which nobody waits for when late.

        Args:
            user_id: whose it is.
            make: makes it.
            then: called with the list that is answered, in a thread.
            deadline_ms: milliseconds that it may take; None is the default.
        """
        seconds = self._deadlines.seconds(deadline_ms)
        job = _Job(self._models, user_id, make, then, Progress(Stopwatch(TRY * seconds)))
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._threads, job.work)
        await asyncio.wait({working}, timeout=WAIT * seconds)
        if working.done():
            return working.result()
        working.cancel()
        made, late = await loop.run_in_executor(self._spare, job.hurry)
        if late:
            loop.run_in_executor(None, then, made)
        return made

    async def in_time(self, work: Callable[[], Result], deadline_ms: int | None) -> Result | None:
        """Do what has no parts to leave out; None where it is not done at the deadline."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        await asyncio.wait({working}, timeout=WAIT * self._deadlines.seconds(deadline_ms))
        if working.done():
            return working.result()
        working.cancel()
        return None


class _Job:
    """One list in the making; `_made` is the one that counts."""

    def __init__(
        self,
        models: Models,
        user_id: str | None,
        make: Make,
        then: Callable[[Made], None],
        progress: Progress,
    ) -> None:
        self._models, self._user_id, self._make, self._then = models, user_id, make, then
        self._progress, self._lock = progress, threading.Lock()
        self._made: Made | None = None

    def work(self) -> Made:
        """Make it, unless somebody hurries before it is there."""
        service, ranked = self._models.answer(self._user_id, self._make, self._progress)
        made, late = self._settle(Made(service, ranked, self._progress.watch))
        if not late:
            self._then(made)
        return made

    def hurry(self) -> tuple[Made, bool]:
        """Give the list if there is one, else one of what is ready, and say so."""
        if self._made is not None:
            return self._made, False
        progress = self._progress.hurried()
        service = progress.service or self._models.of(self._user_id)
        made, early = self._settle(Made(service, self._make(service, progress), progress.watch))
        return made, not early

    def _settle(self, made: Made) -> tuple[Made, bool]:
        """Let the first of two lists count; say whether it is another's."""
        with self._lock:
            late = self._made is not None
            self._made = self._made or made
            return self._made, late
