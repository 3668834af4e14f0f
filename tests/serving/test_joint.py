from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.candidates import Attempt
from avrec.factors import Factors
from avrec.interactions import Histories, stacked
from avrec.models import als, popularity
from avrec.models.knowledge import knowledge
from avrec.recommend import RecommendConfig, Recommender
from avrec.rerank import RerankConfig
from avrec.schema import INTERACTIONS, ITEMS
from avrec.serving.joint import Query, recommended
from avrec.serving.people import NO_ROWS, Person, Wish
from avrec.stopwatch import Stopwatch
from avrec.vocab import Vocabulary

NUM_ITEMS = 40
IDS = [f"i{n:02}" for n in range(NUM_ITEMS)]
AT = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def recommender():
    """Random factors, what is popular, and chance in the lists."""
    rng = np.random.default_rng(0)
    items = Factors(Vocabulary.of(IDS), rng.standard_normal((NUM_ITEMS, 4)).astype(np.float32))
    played = [
        {"user_id": "u", "item_id": i, "weight": 1.0, "at": datetime(2024, 1, 1, tzinfo=UTC)}
        for i in IDS[:9]
    ]
    interactions = pa.Table.from_pylist(played, schema=INTERACTIONS)
    catalogue = pa.Table.from_pylist([{"item_id": i, "title": i} for i in IDS], schema=ITEMS)
    retrievers = [
        als.ALS(items, als.ALSConfig(dim=4)),
        popularity.fit(interactions, items.vocabulary),
    ]
    config = RecommendConfig(rerank=RerankConfig(explore="softmax", diversify="mmr"))
    known = knowledge(catalogue, interactions, None, None)
    return Recommender(items.vocabulary, IDS, retrievers, known, None, config)


def query(number, history, k, watch=None):
    rows = np.array(sorted(history), np.int32)
    wish = Wish(request_id=f"request {number}", k=k, at=AT)
    left_out = np.array([number % NUM_ITEMS], np.int32)
    person = Person(Histories.of([rows]), rows, left_out, NO_ROWS)
    return Query(wish, person, Attempt(watch or Stopwatch()))


ASKED = st.lists(
    st.tuples(st.sets(st.integers(0, NUM_ITEMS - 1), max_size=6), st.sampled_from([3, 5])),
    max_size=9,
)


@given(asked=ASKED)
def test_a_list_does_not_depend_on_those_made_beside_it(recommender, asked):
    queries = [query(n, history, k) for n, (history, k) in enumerate(asked)]
    for one, made in zip(queries, recommended(recommender, queries), strict=True):
        [alone] = recommended(recommender, [one._replace(attempt=Attempt())])
        np.testing.assert_array_equal(made.items, alone.items)
        np.testing.assert_array_equal(made.scores, alone.scores)
        np.testing.assert_array_equal(made.propensities, alone.propensities)
        assert (made.sources, made.reasons) == (alone.sources, alone.reasons)
        assert made.policy == alone.policy
        assert {"retrieve", "score", "explain"} <= one.attempt.watch.milliseconds.keys()


def test_whose_time_is_nearly_up_does_not_hold_up_the_others(recommender):
    assert query(0, {1}, 3, Stopwatch(0.05)).alone
    assert not query(0, {1}, 3, Stopwatch(5.0)).alone
    hurried = query(0, {1}, 3, Stopwatch(0.0))
    assert recommended(recommender, [hurried])[0].items.size == 3
    assert "als" in hurried.attempt.watch.degraded
    late, early = query(0, {1}, 3, Stopwatch(0.0)), query(1, {1}, 3)
    recommended(recommender, [late, early])
    assert late.attempt.watch.degraded
    assert not early.attempt.watch.degraded


def test_rows_are_put_below_one_another():
    first, second = (
        Histories.of([np.array([1, 2])]),
        Histories.of([np.array([3]), np.array([4, 5])]),
    )
    both = stacked([first, second])
    assert [both.row(n).tolist() for n in range(3)] == [[1, 2], [3], [4, 5]]
    assert both.offsets.tolist() == [0, 2, 3, 5]
