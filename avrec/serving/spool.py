"""Served lists that wait while the state is away: training is to know what was shown.

Here come only lists that were never sent to the state, so none is stored twice.
"""

import threading
from collections import deque
from typing import TYPE_CHECKING

from avrec.serving.meters import Meters
from avrec.serving.state import StateError, UserState

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 2_000
"""Lists that are kept, some kilobytes each."""
POURED = 2
"""Of them, that are written behind one that could be."""


class Spool:
    """Keeps lists of one replica in memory until its state takes them.

    Args:
        meters: count those that wait, and those given up.
        most: lists that are kept; beyond, the oldest is given up.
    """

    def __init__(self, meters: Meters, most: int = MOST) -> None:
        self._meters, self._most = meters, most
        self._waiting: deque[pa.Table] = deque()
        self._lock = threading.Lock()
        meters.waiting.set_function(lambda: len(self._waiting))

    def keep(self, shown: "pa.Table") -> None:
        """Keep RECOMMENDATIONS of one request."""
        with self._lock:
            self._waiting.append(shown)
            if len(self._waiting) > self._most:
                self._waiting.popleft()
                self._meters.unlogged.inc()

    def pour(self, state: UserState) -> None:
        """Write a few, now that the state takes lists; one that it refuses is given up."""
        for _ in range(POURED):
            with self._lock:
                if not self._waiting:
                    return
                shown = self._waiting.popleft()
            try:
                state.log_served(shown)
            except StateError:
                self._meters.unlogged.inc()
                return
