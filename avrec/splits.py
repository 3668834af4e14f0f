"""Cut interactions: what comes later, or is of hidden items, never trains what is judged by it."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avrec.arrays import Mask, Micros
from avrec.schema import INTERACTIONS, conform
from avrec.vocab import Vocabulary


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemSplitConfig:
    """How many items are hidden wholly, and how much of the others is held back."""

    cold_share: float = 0.2
    """Share of the items of which no interaction is told."""
    warm_share: float = 0.1
    """Share of what each user took to among the other items, the latest, that is held back."""

    def __post_init__(self) -> None:
        for name in ("cold_share", "warm_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ItemSplit:
    """What is known, and what is asked for: the latest of the warm items, and all of the hidden."""

    train: pa.Table
    warm: pa.Table
    cold: pa.Table


def by_item(interactions: pa.Table, config: ItemSplitConfig, *, seed: int) -> ItemSplit:
    """Hide items wholly, whoever took to them and whenever.

    Whether an item is hidden depends on its id and `seed` alone, so a catalogue that grows hides
    the same ones. Within a user, ties in time are cut by item_id.
    """
    table = conform(interactions, INTERACTIONS)
    cold = hidden(table["item_id"], config.cold_share, seed)
    rest = table.filter(pa.array(~cold))
    late = _latest(rest, config.warm_share)
    return ItemSplit(
        train=rest.filter(pa.array(~late)),
        warm=rest.filter(pa.array(late)),
        cold=table.filter(pa.array(cold)),
    )


def hidden(item_ids: pa.ChunkedArray, share: float, seed: int) -> Mask:
    """Tell of each id whether it is among about `share` of all ids, drawn by its hash."""
    ids = Vocabulary.of(item_ids)
    drawn = np.array([_draw(f"{seed} {name}") for name in ids.ids.to_pylist()])
    return np.asarray((drawn < share)[ids.idx(item_ids)])


def _draw(text: str) -> float:
    """A number in [0, 1) that follows from a text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _latest(table: pa.Table, share: float) -> Mask:
    """The latest `share` of each user's rows, rounded down."""
    user = Vocabulary.of(table["user_id"]).idx(table["user_id"])
    item = Vocabulary.of(table["item_id"]).idx(table["item_id"])
    order = np.lexsort((item, table["at"].cast(pa.int64()).to_numpy(), user))
    counts = np.bincount(user)
    stop = np.cumsum(counts)[user[order]]
    still_to_come = stop - 1 - np.arange(len(order))
    late = np.zeros(len(order), bool)
    late[order] = still_to_come < np.floor(share * counts[user[order]])
    return late
