"""What most users took to: the list that every model has to beat."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Vectors
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.schema import INTERACTIONS, conform
from avrec.vocab import Vocabulary

MICROS_PER_DAY = 86_400_000_000


class Popularity:
    """Scores an item by its number of interactions, for everybody alike, newcomers too."""

    def __init__(self, name: str, items: Factors) -> None:
        self.name, self.items = name, items

    def user_vectors(self, histories: Histories) -> Vectors:
        """Ones, shape (num_queries, 1)."""
        return np.ones((len(histories), 1), np.float32)


def fit(interactions: pa.Table, items: Vocabulary) -> Popularity:
    """Count interactions over all time; the name is "popularity"."""
    return Popularity("popularity", _count(conform(interactions, INTERACTIONS), items))


def recent(interactions: pa.Table, items: Vocabulary, days: int = 7) -> Popularity:
    """Count those of the last `days` before the last interaction; the name is "popularity_7d"."""
    table = conform(interactions, INTERACTIONS)
    at = table["at"].cast(pa.int64())
    after = (pc.max(at).as_py() or 0) - days * MICROS_PER_DAY
    return Popularity(f"popularity_{days}d", _count(table.filter(pc.greater(at, after)), items))


def _count(interactions: pa.Table, items: Vocabulary) -> Factors:
    """Counts plus one: what nobody took to yet comes last, but can be listed."""
    rows = items.idx(interactions["item_id"])
    counts = np.bincount(rows[rows >= 0], minlength=len(items))
    return Factors(items, (1 + counts[:, None]).astype(np.float32))
