"""How many requests a key may make: a bucket each, that fills evenly and holds one second's worth.

Buckets are of one replica, which gets its share of a limit that is meant for all of them.
"""

import threading
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Rates:
    """Counts requests by key.

    Args:
        per_second: requests of a key that has no limit of its own; None lets any number pass.
        num_replicas: how many share the limits.
    """

    def __init__(self, per_second: float | None = None, num_replicas: int = 1) -> None:
        self._per_second, self._num_replicas = per_second, num_replicas
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, key_id: str, per_second: float | None, now: float) -> float:
        """Count a request and answer 0, or say in how many seconds the next one may come.

        Args:
            key_id: whose request it is.
            per_second: limit of that key; None where it has none of its own.
            now: seconds of a clock that never goes back.
        """
        limit = per_second if per_second is not None else self._per_second
        if limit is None:
            return 0.0
        rate = limit / self._num_replicas
        most = max(1.0, rate)
        with self._lock:
            bucket = self._buckets.setdefault(key_id, _Bucket(most, now))
            bucket.left = min(most, bucket.left + (now - bucket.at) * rate)
            bucket.at = now
            if bucket.left < 1:
                return (1 - bucket.left) / rate
            bucket.left -= 1
            return 0.0
