"""A candidate makes the lists that another one answers with, to be compared and forgotten."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from avrec.checks import FAULTS
from avrec.errors import AvrecError
from avrec.serving.meters import Meters
from avrec.serving.service import Progress, Service

if TYPE_CHECKING:
    from avrec.recommend import Ranked

MAX_WAITING = 8
"""Lists that wait to be made; what comes while so many do is passed over."""


class Shadow:
    """One thread beside those that answer."""

    def __init__(self, meters: Meters) -> None:
        self._meters, self._pool = meters, ThreadPoolExecutor(1, "shadow")
        self._room = threading.Semaphore(MAX_WAITING)

    def compare(
        self, candidate: Service, make: Callable[[Service, Progress], "Ranked"], shown: list[str]
    ) -> None:
        """Count how long the candidate's list takes, and what share of `shown` is in it."""
        if not self._room.acquire(blocking=False):
            self._meters.shadows.labels("passed_over").inc()
            return
        self._pool.submit(self._compare, candidate, make, shown)

    def _compare(
        self, candidate: Service, make: Callable[[Service, Progress], "Ranked"], shown: list[str]
    ) -> None:
        start = time.perf_counter()
        try:
            made = make(candidate, Progress())
        except (AvrecError, *FAULTS):
            self._meters.shadows.labels("failed").inc()
            return
        finally:
            self._room.release()
        self._meters.shadow_seconds.observe(time.perf_counter() - start)
        self._meters.shadows.labels("compared").inc()
        if shown:
            common = {candidate.item_id(row) for row in made.items} & set(shown)
            self._meters.overlap.observe(len(common) / len(shown))
