"""Draw the negatives that all queries of a batch share, and estimate how often items are targets.

The proposal is  Q(j) = (1 - s) / num_items + s p(j),  p being the share of `j` among the targets:
"uniform" is s = 0; "popularity" and "in_batch" are s = 1, drawn from p and from the batch's own
targets; "mixed" draws a share s from the batch and the others evenly (Yang et al., WWW 2020).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from avrec.arrays import Array, Idx, Scores, Values

KINDS = ("uniform", "popularity", "in_batch", "mixed")


class Negatives(NamedTuple):
    """Catalogue rows (m), and the log of how often each is expected among them, m Q(j)."""

    items: Idx
    log_expected: Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """How negatives are drawn."""

    kind: str
    """One of `KINDS`."""
    count: int
    """Negatives of a batch, m."""
    share: float = 0.5
    """For "mixed", the share that comes from the batch, s."""

    def draw(self, shares: Values, targets: Idx, rng: np.random.Generator) -> Negatives:
        """Draw for one batch.

        Args:
            shares: p, how likely each item of the catalogue is to be a target; above 0.
            targets: catalogue rows of the batch's targets, of all workers.
            rng: of the batch, not of the worker.
        """
        num_popular = round(self._share() * self.count)
        if self.kind == "popularity":
            popular = np.searchsorted(np.cumsum(shares), rng.random(num_popular) * shares.sum())
        else:
            popular = targets[rng.integers(0, len(targets), num_popular)]
        even = rng.integers(0, len(shares), self.count - num_popular)
        items = np.concatenate([popular, even]).clip(max=len(shares) - 1).astype(np.int32)
        chance = (1 - self._share()) / len(shares) + self._share() * shares[items]
        return Negatives(items, np.log(self.count * chance).astype(np.float32))

    def _share(self) -> float:
        return {"uniform": 0.0, "mixed": self.share}.get(self.kind, 1.0)


@dataclass(frozen=True, slots=True)
class Stream:
    """How often each item is a target, learned from the stream itself (Yi et al., RecSys 2019).

    The mean number of targets from one sighting of an item to the next is 1 / p. Its moving mean
    forgets by `rate` a sighting, so that p follows a catalogue that changes. `gap` and `last`,
    one number an item, and `seen`, one number, are all the state.
    """

    num_items: int
    rate: float = 0.05
    gap: Values = field(init=False)
    last: Values = field(init=False)
    seen: Values = field(init=False)

    def __post_init__(self) -> None:
        for name, size in (("gap", self.num_items), ("last", self.num_items), ("seen", 1)):
            object.__setattr__(self, name, np.zeros(size))

    def see(self, targets: Idx) -> None:
        """Count the targets of a batch, in place."""
        items, counts = np.unique(targets, return_counts=True)
        self.seen[0] += len(targets)
        between = (self.seen[0] - self.last[items]) / counts
        kept = np.where(self.gap[items] > 0, (1 - self.rate) ** counts, 0)
        self.gap[items] = kept * self.gap[items] + (1 - kept) * between
        self.last[items] = self.seen[0]

    def shares(self) -> Values:
        """Estimate p of each item, not normed; one never seen has that of a first sighting now."""
        unseen = float(self.seen[0]) + self.num_items
        return 1 / np.where(self.gap > 0, self.gap, unseen)

    def state(self) -> dict[str, Array]:
        """Arrays that hold the state; what is written into them is the state."""
        return {"gap": self.gap, "last": self.last, "seen": self.seen}
