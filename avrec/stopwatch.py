"""How long each stage of an answer took, and when to stop trying for a better one."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Milliseconds by stage, in the order of the stages, and what was left out for lack of time.

    Args:
        limit_seconds: time from now that the whole answer may take.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self, limit_seconds: float = math.inf, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock, self._end = clock, clock() + limit_seconds
        self.milliseconds: dict[str, float] = {}
        self.degraded: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; blocks of the same name add up."""
        start = self._clock()
        try:
            yield
        finally:
            spent = 1000 * (self._clock() - start)
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent

    def left_seconds(self) -> float:
        """Time that is left, at least 0."""
        return max(0.0, self._end - self._clock())

    def forgoes(self, what: str) -> bool:
        """Tell whether the time is up, and if so note that the answer is without `what`."""
        if self.left_seconds() > 0:
            return False
        self.lack(what)
        return True

    def hurried(self) -> "Stopwatch":
        """Make one with what this one knows, of which the time is up."""
        other = Stopwatch(0.0, self._clock)
        other.milliseconds, other.degraded = dict(self.milliseconds), list(self.degraded)
        return other

    def lack(self, what: str) -> None:
        """Note that the answer is without `what`."""
        if what not in self.degraded:
            self.degraded.append(what)
