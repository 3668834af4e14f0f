"""Work that is cheaper for several than for each: whoever comes first works for all who wait.

Threads call; one of them at a time leads, and takes along what others have asked for meanwhile.
So nobody waits for company: alone, a call is done at once, and the busier it gets, the more are
done together.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Together(Generic[Job, Result]):
    """Calls from many threads, done some at a time.

    Args:
        work: does jobs together and gives a result for each, or raises and has done nothing.
        most: jobs that are done together, at most.
        faults: what work may raise; then each job of several is done again, alone.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Sequence[Result]],
        most: int,
        faults: tuple[type[Exception], ...],
    ) -> None:
        self._work, self._most, self._faults = work, most, faults
        self._lock, self._busy = threading.Lock(), False
        self._waiting: list[_Call[Job, Result]] = []

    def __call__(self, job: Job) -> Result:
        """Have a job done; raises what it alone raises."""
        call: _Call[Job, Result] = _Call(job)
        with self._lock:
            self._waiting.append(call)
            leads, self._busy = not self._busy, True
        if not leads:
            call.turn.acquire()
        if not call.results and not call.alone:
            self._lead()
        [result] = self._work([job]) if call.alone else call.results
        return result

    def _lead(self) -> None:
        """Work for the first of those who wait, oneself among them, then let the next one lead."""
        with self._lock:
            calls, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            with suppress(*(self._faults if len(calls) > 1 else ())):
                results = self._work([call.job for call in calls])
                for call, result in zip(calls, results, strict=True):
                    call.results.append(result)
        finally:
            for call in calls:
                call.alone = not call.results
            with self._lock:
                self._busy = bool(self._waiting)
                awake = [*calls, *self._waiting[:1]]
            for call in awake:
                call.turn.release()


class _Call(Generic[Job, Result]):
    """A job and its result, if any; `turn` comes when that is known, or when this call leads."""

    def __init__(self, job: Job) -> None:
        self.job, self.alone = job, False
        self.results: list[Result] = []
        self.turn = threading.Lock()
        self.turn.acquire()
