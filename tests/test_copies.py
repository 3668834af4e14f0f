"""One of each work in a list: laws over random worlds, and what a list of copies becomes."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from avrec.copies import Copies
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models import popularity
from avrec.models.features import knowledge
from avrec.recommend import RecommendConfig, Recommender
from avrec.schema import INTERACTIONS, ITEMS, conform
from avrec.vocab import Vocabulary
from tests.test_recommend import Taste

NUM_ITEMS = 12
NAMES = [f"t{row:02}" for row in range(NUM_ITEMS)]
ITEMS_TABLE = conform(pa.table({"item_id": NAMES, "title": NAMES}), ITEMS)
AT = 0
groupings = st.lists(st.integers(0, 5), min_size=NUM_ITEMS, max_size=NUM_ITEMS)
some_items = st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=4)
queries = st.lists(some_items, min_size=1, max_size=4)


def lowest(labels: list[int]) -> np.ndarray:
    """Name each group by its lowest row."""
    return np.array([labels.index(label) for label in labels], np.int32)


def recommender(labels: list[int], per_source: int = 2) -> Recommender:
    """All items have some of one taste, so a history lists them all; few are proposed at once."""
    vocabulary = Vocabulary.of(NAMES)
    known = knowledge(ITEMS_TABLE, INTERACTIONS.empty_table())
    known = replace(known, copies=Copies.of(lowest(labels)))
    vectors = np.linspace(1, 2, NUM_ITEMS, dtype=np.float32)[:, None]
    retrievers = [
        Taste(Factors(vocabulary, vectors)),
        popularity.fit(INTERACTIONS.empty_table(), vocabulary),
    ]
    config = RecommendConfig(candidates_per_source=per_source)
    return Recommender(vocabulary, NAMES, retrievers, known, config=config)


def rows_of(lists: list[list[int]]) -> Histories:
    return Histories.of([np.array(row, np.int32) for row in lists])


@given(labels=groupings, histories=queries, barred=some_items, k=st.integers(1, 8))
def test_one_of_each_work_none_of_the_known_and_k_where_there_are_enough(
    labels, histories, barred, k
):
    made = recommender(labels)
    exclude = rows_of([barred] * len(histories))
    lists = made.recommend(rows_of(histories), k=k, at=AT, exclude=exclude)
    for history, ranked in zip(histories, lists, strict=True):
        shown = [labels[row] for row in ranked.items]
        left = set(labels) - {labels[row] for row in history + barred}
        assert len(shown) == len(set(shown))
        assert set(shown) <= left
        if history:
            assert len(shown) == min(k, len(left))


@given(labels=groupings, histories=queries, k=st.integers(1, 8))
def test_a_batch_gives_what_each_gets_alone_and_a_larger_k_extends(labels, histories, k):
    made = recommender(labels)
    together = made.rows(rows_of(histories), k, AT)
    for history, row in zip(histories, together, strict=True):
        np.testing.assert_array_equal(made.rows(rows_of([history]), k, AT)[0], row)
    deep = recommender(labels, per_source=8)
    longer, shorter = (deep.rows(rows_of(histories), length, AT) for length in (8, k))
    np.testing.assert_array_equal(longer[:, :k], shorter)


def test_the_best_of_the_copies_is_shown_and_they_take_up_one_place():
    copies_of_the_favourite = [*range(6), 6, 7, 8, 9, 9, 9]
    [ranked] = recommender(copies_of_the_favourite).recommend(rows_of([[0]]), k=3, at=AT)
    assert ranked.items.tolist() == [11, 8, 7]


def test_without_groups_lists_are_as_if_nobody_had_looked():
    alone = recommender(list(range(NUM_ITEMS)))
    assert not alone.knowledge.copies.repeated.any()
    assert alone.rows(rows_of([[0]]), 3, AT).tolist() == [[11, 10, 9]]


@given(labels=groupings, item=st.integers(0, NUM_ITEMS - 1))
def test_similar_items_are_other_works_one_each(labels, item):
    shown = [labels[row] for row in recommender(labels).similar(item, k=12).items]
    assert sorted(shown) == sorted(set(labels) - {labels[item]})


@given(labels=groupings, histories=queries)
def test_rows_are_spread_to_all_copies_of_their_items(labels, histories):
    spread = Copies.of(lowest(labels)).spread(rows_of(histories))
    for query, history in enumerate(histories):
        wanted = {row for row in range(NUM_ITEMS) if labels[row] in {labels[h] for h in history}}
        assert set(spread.row(query).tolist()) == wanted


def test_places_and_counts_are_of_works():
    copies = Copies.of(np.array([0, 1, 0, 3, 1], np.int32))
    lists = np.array([[2, 4, 0, 3, 1], [3, 0, -1, -1, -1], [-1] * 5], np.int32)
    assert copies.places(lists).tolist() == [[1, 2, 2, 3, 3], [1, 2, 0, 0, 0], [0] * 5]
    assert copies.num_works(lists).tolist() == [3, 2, 0]
