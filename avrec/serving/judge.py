"""When a new bundle is taken back: it fails more often, or is slower, than the one before."""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

SLACK_MILLISECONDS = 5.0
"""What a bundle may be slower in any case; below it, a factor is noise."""
QUANTILE = 0.95
TRIAL_WINDOWS = 5
"""Windows of requests after which a new bundle has stood its trial."""
EVERY = 10
"""Lists after which one that did not fail is reason to judge again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How much worse a new bundle may be, over a window of requests of one replica."""

    window: int = 200
    """Requests that are compared."""
    max_errors: float = 0.02
    """Share of the requests by which it may fail more often."""
    max_slowdown: float = 2.0
    """Times that its 95th percentile of milliseconds may be that of the one before."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}")
        if self.max_errors < 0:
            raise ValueError(f"max_errors must be at least 0, got {self.max_errors}")
        if self.max_slowdown < 1:
            raise ValueError(f"max_slowdown must be at least 1, got {self.max_slowdown}")


@dataclass(slots=True)
class _Record:
    milliseconds: deque[float]
    failed: deque[bool]
    count: int = 0


@dataclass(slots=True)
class Judge:
    """Remembers the latest requests of each version."""

    tolerance: Tolerance
    _records: dict[str, _Record] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, version: str, milliseconds: float, *, failed: bool) -> None:
        """Count one list."""
        window = self.tolerance.window
        with self._lock:
            empty = _Record(deque(maxlen=window), deque(maxlen=window))
            record = self._records.setdefault(version, empty)
            record.milliseconds.append(milliseconds)
            record.failed.append(failed)
            record.count += 1

    def fault(self, new: str, old: str) -> str | None:
        """Say why `new` is to be taken back, as far as is known after its last list; or None."""
        with self._lock:
            mine, theirs = self._records.get(new), self._records.get(old)
            if mine is None or (mine.count % EVERY and not mine.failed[-1]):
                return None
            return self._errors(mine, theirs) or self._slowness(mine, theirs)

    def on_trial(self, version: str) -> bool:
        """Tell whether a version has answered too few requests to be let alone."""
        record = self._records.get(version)
        return record is None or record.count < TRIAL_WINDOWS * self.tolerance.window

    def start(self, version: str) -> None:
        """Forget what a version did; its trial begins."""
        with self._lock:
            self._records.pop(version, None)

    def _errors(self, mine: _Record, theirs: _Record | None) -> str | None:
        """Told before the window is full, once no later success could make up for the failures."""
        usual = sum(theirs.failed) / len(theirs.failed) if theirs else 0.0
        count, window = sum(mine.failed), self.tolerance.window
        if count <= (usual + self.tolerance.max_errors) * window:
            return None
        return f"{count} of {len(mine.failed)} lists failed, usual are {usual:.1%}"

    def _slowness(self, mine: _Record, theirs: _Record | None) -> str | None:
        window = self.tolerance.window
        if theirs is None or min(len(mine.milliseconds), len(theirs.milliseconds)) < window:
            return None
        new, old = (float(np.quantile(one.milliseconds, QUANTILE)) for one in (mine, theirs))
        if new <= old * self.tolerance.max_slowdown + SLACK_MILLISECONDS:
            return None
        return f"95 % of lists take up to {new:.1f} ms, before {old:.1f} ms"
