"""Cut interactions in time: what comes later never trains what is judged by it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avrec.arrays import Micros
from avrec.schema import INTERACTIONS, conform


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """How much of the latest interactions is held back."""

    rank_share: float = 0.1
    """Share that the ranker learns from, before the test; 0 for none."""
    test_share: float = 0.1
    """Share, the latest, that models are judged by."""

    def __post_init__(self) -> None:
        for name in ("rank_share", "test_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.rank_share + self.test_share >= 1:
            raise ValueError(
                f"rank_share + test_share must be below 1, got {self.rank_share + self.test_share}"
            )


@dataclass(frozen=True, slots=True)
class Split:
    """Three spans of time: train < `rank_at` <= rank < `test_at` <= test, UTC microseconds."""

    train: pa.Table
    rank: pa.Table
    test: pa.Table
    rank_at: int
    test_at: int


def by_time(interactions: pa.Table, config: SplitConfig) -> Split:
    """Cut at two moments, the same for all users.

    Interactions of one moment stay together, in the later part. Without interactions both
    moments are 0.
    """
    table = conform(interactions, INTERACTIONS)
    at = table["at"].cast(pa.int64()).to_numpy()
    rank_at, test_at = moments(at, config)
    return Split(
        train=table.filter(pa.array(at < rank_at)),
        rank=table.filter(pa.array((at >= rank_at) & (at < test_at))),
        test=table.filter(pa.array(at >= test_at)),
        rank_at=rank_at,
        test_at=test_at,
    )


def moments(at: Micros, config: SplitConfig) -> tuple[int, int]:
    """When the ranker's span and the test begin, given when each interaction happened."""
    test_at = _cut(at, config.test_share)
    return min(_cut(at, config.rank_share + config.test_share), test_at), test_at


def _cut(at: Micros, share: float) -> int:
    """The moment from which about `share` of the interactions happened."""
    if not len(at):
        return 0
    first = int(np.floor((1 - share) * len(at)))
    ordered = np.sort(at)
    return int(ordered[first]) if first < len(at) else int(ordered[-1]) + 1
