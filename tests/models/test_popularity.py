from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from avrec.index import top_k
from avrec.interactions import Histories
from avrec.models import popularity
from avrec.schema import INTERACTIONS, empty
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of(["a", "b", "c", "d"])
NOW = datetime(2024, 3, 1, tzinfo=UTC)


def interactions(*rows):
    columns = zip(
        *((user, item, 1.0, NOW - timedelta(days=age)) for user, item, age in rows), strict=True
    )
    return pa.table([pa.array(column) for column in columns], names=INTERACTIONS.names[:4])


PAST = interactions(
    ("u", "b", 30), ("v", "b", 20), ("w", "b", 9), ("u", "a", 1), ("v", "c", 0), ("u", "gone", 0)
)


def order(model):
    return top_k(model.user_vectors(Histories.of([[]])), model.items.vectors, 4).idx[0].tolist()


def test_most_played_come_first_and_ties_by_id():
    assert order(popularity.fit(PAST, ITEMS)) == [1, 0, 2, 3]


def test_recent_forgets_what_is_older_than_a_week():
    model = popularity.recent(PAST, ITEMS)
    assert model.name == "popularity_7d"
    assert order(model)[:2] == [0, 2]


def test_what_nobody_took_to_comes_last_but_is_listed():
    for fit in (popularity.fit, popularity.recent):
        assert order(fit(PAST, ITEMS))[-1] >= 0
        assert order(fit(empty(INTERACTIONS), ITEMS)) == list(range(len(ITEMS)))


def test_everybody_gets_the_same_vector():
    histories = Histories.of([np.array([0]), []])
    assert (popularity.fit(PAST, ITEMS).user_vectors(histories) == 1).all()
