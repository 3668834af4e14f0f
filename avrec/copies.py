"""Items that are one work uploaded several times, as lists must treat them: one of each is shown.

`group[row]` is the lowest catalogue row of the work that `row` is a copy of, itself if it is alone.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from avrec.arrays import Idx, Mask, Offsets, Scores
from avrec.interactions import Histories


@dataclass(frozen=True, slots=True)
class Copies:
    """Groups of a catalogue: that of row `g` has `members[offsets[g]:offsets[g + 1]]`.

    `repeated` says which rows are not alone.
    """

    group: Idx
    offsets: Offsets
    members: Idx
    repeated: Mask

    @classmethod
    def of(cls, group: Idx) -> Self:
        """Gather the members of each group."""
        sizes = np.bincount(group, minlength=len(group))
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        members = np.argsort(group, kind="stable").astype(np.int32)
        return cls(group, offsets, members, sizes[group] > 1)

    @classmethod
    def none(cls, num_items: int) -> Self:
        """Every item is alone."""
        return cls.of(np.arange(num_items, dtype=np.int32))

    def spread(self, rows: Histories) -> Histories:
        """Add to each row all copies of its items; weights are 1 and times 0."""
        hit = self.repeated[rows.items]
        if not hit.any():
            return rows
        group, query = self.group[rows.items[hit]], rows.query_of_item()
        counts = self.offsets[group + 1] - self.offsets[group]
        before = np.cumsum(counts) - counts
        entries = np.arange(counts.sum()) + np.repeat(self.offsets[group] - before, counts)
        owner = np.concatenate([query, np.repeat(query[hit], counts)])
        items = np.concatenate([rows.items, self.members[entries]])[
            np.argsort(owner, kind="stable")
        ]
        offsets = np.searchsorted(np.sort(owner), np.arange(len(rows) + 1))
        ones, zeros = np.ones(len(items), np.float32), np.zeros(len(items), np.int64)
        return Histories(offsets, items, ones, zeros)

    def places(self, lists: Idx) -> Idx:
        """Place of each entry's work in its list, from 1; later copies of it are one behind.

        `lists` has shape (num_queries, k); the place of padding, which is -1, is 0.
        """
        filled = lists >= 0
        places = np.where(filled, np.arange(1, lists.shape[1] + 1, dtype=np.int32), np.int32(0))
        touched = np.flatnonzero((self.repeated[lists] & filled).any(axis=1))
        if len(touched):
            places[touched] = self._places(lists[touched])
        return places

    def num_works(self, lists: Idx) -> Offsets:
        """How many works each list of rows has; -1 is padding."""
        works = np.sort(np.where(lists >= 0, self.group[lists], -1), axis=1)
        fresh = np.diff(works, axis=1, prepend=-1) > 0
        count: Offsets = fresh.sum(axis=1)
        return count

    def best(self, query: Idx, item: Idx, scores: Scores) -> Mask:
        """Mark what is alone, and of the copies proposed to a query the highest; ties by item."""
        kept = ~self.repeated[item]
        several = np.flatnonzero(~kept)
        work = query[several].astype(np.int64) * len(self.group) + self.group[item[several]]
        order = several[np.lexsort((item[several], -scores[several], work))]
        _, first = np.unique(np.sort(work), return_index=True)
        kept[order[first]] = True
        return kept

    def _places(self, lists: Idx) -> Idx:
        query, column = np.nonzero(lists >= 0)
        work = query * np.int64(len(self.group)) + self.group[lists[query, column]]
        _, first, inverse = np.unique(work, return_index=True, return_inverse=True)
        fresh = np.zeros(lists.shape, np.int32)
        fresh[query[first], column[first]] = 1
        so_far = np.cumsum(fresh, axis=1, dtype=np.int32)[query, column]
        places = np.zeros(lists.shape, np.int32)
        places[query, column] = so_far[first][inverse] + 1 - fresh[query, column]
        return places
