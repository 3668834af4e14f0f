import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.index import as_lister, top_k
from avrec.interactions import Histories
from avrec.models.newcomers import BySegment, Stated, Tastes
from avrec.schema import INTERACTIONS, ITEMS, TIME, conform
from avrec.vocab import Vocabulary

IDS = [f"i{n}" for n in range(8)]
VOCABULARY = Vocabulary.of(IDS)
TAGS = [["rock"], ["rock"], ["rock", "talk"], ["talk"], [], None, ["rock"], ["rock", None]]


def interactions(pairs):
    columns = {
        "user_id": pa.array([user for user, _ in pairs], pa.string()),
        "item_id": pa.array([f"i{item}" for _, item in pairs], pa.string()),
        "weight": pa.array([1.0] * len(pairs), pa.float32()),
        "at": pa.array([0] * len(pairs), pa.int64()).cast(TIME),
    }
    return conform(pa.table(columns), INTERACTIONS)


ITEM_TABLE = conform(
    pa.table({"item_id": IDS, "title": IDS, "tags": pa.array(TAGS, pa.list_(pa.string()))}), ITEMS
)
TAKEN = interactions([*(("a", n) for n in (0, 1, 1, 1, 2, 3, 6)), ("b", 1), ("b", 6)])


def stated(likes, items, taken):
    vocabulary = Vocabulary.of(items["item_id"])
    counts = np.bincount(vocabulary.idx(taken["item_id"]), minlength=len(vocabulary))
    return Tastes(items, counts).histories(likes)


def test_liked_items_weigh_one_and_a_liked_tag_as_much_as_an_item():
    likes = [Stated(items=["i4", "elsewhere"]), Stated(tags=["talk", "unheard"]), Stated()]
    found = stated(likes, ITEM_TABLE, TAKEN)
    assert [found.row(n).tolist() for n in range(3)] == [[4], [2, 3], []]
    np.testing.assert_allclose(found.weights, [1, 0.5, 0.5])


def test_a_tag_is_told_by_its_best_known_items():
    found = stated([Stated(tags=["rock"])], ITEM_TABLE, TAKEN)
    assert found.row(0).tolist() == [0, 1, 2, 6, 7]
    both = stated([Stated(items=["i1"], tags=["rock"])], ITEM_TABLE, TAKEN)
    assert both.weights[both.row(0).tolist().index(1)] == pytest.approx(1.2)


def test_nobody_says_nothing():
    assert len(stated([], ITEM_TABLE, TAKEN)) == 0


SEGMENTS = {"young": "under 30", "younger": "under 30", "old": "over 60"}


def lists(model, segments, k=8):
    return top_k(model.vectors_of(segments), model.items.vectors, k).idx.tolist()


def test_a_segment_has_its_own_favourites_and_an_unknown_one_everybodys():
    pairs = [(user, item) for user in ("young", "younger") for item in (5, 6) for _ in range(50)]
    pairs += [("old", 2)] * 90 + [("stranger", 7)] * 300
    model = BySegment(VOCABULARY, interactions(pairs), SEGMENTS, prior=10)
    found = lists(model, ["under 30", "over 60", None, "elsewhere"])
    assert found[0][:2] == [5, 6]
    assert found[1][0] == 2
    assert found[2] == found[3]
    assert found[2][:4] == [7, 5, 6, 2]


def test_a_small_segment_hardly_differs_from_all():
    pairs = [("old", 2), *(("stranger", n % 2) for n in range(400))]
    model = BySegment(VOCABULARY, interactions(pairs), SEGMENTS, prior=100)
    assert lists(model, ["over 60"], 2) == [[0, 1]]


@given(st.lists(st.tuples(st.sampled_from([*SEGMENTS, "x"]), st.integers(0, 7)), max_size=30))
def test_every_item_can_be_listed_and_shares_sum_to_one(pairs):
    model = BySegment(VOCABULARY, interactions(pairs), SEGMENTS)
    np.testing.assert_allclose(model.items.vectors.sum(axis=0), 1, rtol=1e-5)
    assert sorted(lists(model, ["over 60"])[0]) == list(range(8))


def test_newcomers_without_history_are_served():
    model = BySegment(VOCABULARY, TAKEN, SEGMENTS)
    found = as_lister(model).lists(Histories.of([np.empty(0, np.int32)]), 2)
    assert found.idx.tolist() == [[1, 6]]
