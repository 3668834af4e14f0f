"""Sources without a model, and the words that go with them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models import popularity
from avrec.models.features import knowledge
from avrec.models.newcomers import Stated, Tastes
from avrec.recommend import Context, Newcomers, RecommendConfig, Recommender
from avrec.schema import INTERACTIONS, ITEMS, conform
from avrec.sources import DAY, Followed, Fresh, Queries, languages_of_users, segmented
from avrec.vocab import Vocabulary
from tests.test_recommend import EVEN_ONE_TASTE, Taste

NUM_ITEMS = 12
IDS = [f"t{n:02}" for n in range(NUM_ITEMS)]
AT = 100 * DAY
AGE_DAYS = [1, 2, 3, None, 5, 6, 40, 41, -1, 90, 91, 92]
TAGS = [["jazz"], ["folk"], ["jazz", "live"], ["jazz"], [], None, *([["folk"]] * 6)]
CREATORS = ["ann", "bob", None, "ann", "ann", "cy", "cy", "bob", "ann", "bob", None, "ann"]
LANGUAGES = ["en"] * 6 + ["de"] * 5 + [None]
PUBLISHED = [None if age is None else AT - age * DAY for age in AGE_DAYS]
ITEMS_TABLE = conform(
    pa.table(
        {
            "item_id": IDS,
            "title": IDS,
            "tags": pa.array(TAGS, pa.list_(pa.string())),
            "creator_id": CREATORS,
            "language": LANGUAGES,
            "published_at": pa.array(PUBLISHED, pa.timestamp("us", "UTC")),
        }
    ),
    ITEMS,
)


def interactions(*pairs):
    columns = {"user_id": [u for u, _ in pairs], "item_id": [IDS[i] for _, i in pairs]}
    columns |= {"weight": np.ones(len(pairs), np.float32)}
    at = pa.array([0] * len(pairs), pa.timestamp("us", "UTC"))
    return conform(pa.table(columns | {"at": at}), INTERACTIONS)


TAKEN = interactions(
    ("a", 3), ("b", 3), ("c", 3), ("a", 11), ("d", 8), ("e", 8), ("d", 7), ("a", 4)
)
KNOWN = knowledge(ITEMS_TABLE, TAKEN)
VOCABULARY = Vocabulary.of(IDS)


def rows_of(*rows):
    return Histories.of([np.array(row, np.int32) for row in rows])


def lists(source, *histories, exclude=(), k=NUM_ITEMS, at=AT, segments=()):
    barred = rows_of(*([list(exclude)] * len(histories)))
    queries = Queries(histories=rows_of(*histories), exclude=barred, at=at, segments=segments)
    found = source.ask(queries).lists(np.arange(len(histories), dtype=np.int32), k)
    return [[row for row in rows if row >= 0] for rows in found.tolist()]


def test_fresh_is_what_came_out_lately_newest_first_and_nothing_from_the_future():
    fresh = Fresh(KNOWN, days=30)
    assert lists(fresh, []) == [[0, 1, 2, 4, 5]]
    assert lists(fresh, [], exclude=[1], k=3) == [[0, 2, 4]]
    assert lists(fresh, [], at=AT + 2 * DAY) == [[8, 0, 1, 2, 4, 5]]
    assert lists(fresh, [], at=0) == [[]]


def test_fresh_lists_first_what_is_tagged_like_the_history():
    assert lists(Fresh(KNOWN, days=30), [6, 7], [3]) == [[1, 0, 2, 4, 5], [0, 2, 1, 4, 5]]


def test_creators_share_the_places_as_they_share_the_history():
    followed = Followed(KNOWN)
    assert lists(followed, [], [2, 10]) == [[], []]
    assert lists(followed, [5], exclude=[5]) == [[6]]
    once, twice = lists(followed, [0, 1], exclude=[0, 1])[0], lists(followed, [0, 4, 1])[0]
    assert once == [3, 7, 8, 4, 9, 11]
    assert twice[:4] == [3, 8, 7, 4]


@given(
    history=st.lists(st.integers(0, NUM_ITEMS - 1), unique=True),
    barred=st.lists(st.integers(0, NUM_ITEMS - 1), unique=True),
    k=st.integers(1, 15),
)
def test_what_is_left_out_is_not_proposed_and_a_longer_list_extends_a_shorter(history, barred, k):
    for source in (Fresh(KNOWN, days=50), Followed(KNOWN)):
        [shorter] = lists(source, history, exclude=barred, k=k)
        [longer] = lists(source, history, exclude=barred, k=15)
        assert shorter == longer[:k]
        assert not set(longer) & set(barred)
        assert len(set(longer)) == len(longer)


def test_a_users_language_is_that_of_most_of_their_items():
    pairs = [("a", 0), ("a", 6), ("a", 7), ("b", 1), ("b", 6), ("c", 11)]
    assert languages_of_users(ITEMS_TABLE, interactions(*pairs)) == {"a": "de", "b": "de"}
    silent = ITEMS_TABLE.set_column(6, "language", pa.nulls(NUM_ITEMS, pa.string()))
    assert segmented(silent, TAKEN, VOCABULARY, KNOWN.playable) is None


@pytest.fixture(scope="module")
def recommender():
    """Even items are one taste; all sources there are."""
    taste = Taste(Factors(VOCABULARY, EVEN_ONE_TASTE), "towers")
    popular = popularity.fit(TAKEN, VOCABULARY)
    config = RecommendConfig(sources=("towers", "fresh", "creators"), candidates_per_source=4)
    made = Recommender(VOCABULARY, IDS, [taste, popular], KNOWN, None, config)
    by_language = segmented(ITEMS_TABLE, TAKEN, VOCABULARY, KNOWN.playable)
    return made.welcoming(Newcomers(Tastes(ITEMS_TABLE, KNOWN.counts), by_language))


def shown(recommender, history=(), **context):
    given = {name: [value] for name, value in context.items()}
    [ranked] = recommender.recommend(rows_of(list(history)), k=12, at=AT, context=Context(**given))
    return dict(zip(ranked.items.tolist(), ranked.reasons, strict=True)), ranked


def test_nobody_gets_what_is_popular_and_what_is_new(recommender):
    reasons, _ = shown(recommender)
    assert reasons[3] == "Popular with listeners"
    assert reasons[0] == "New"


def test_of_whom_the_language_is_known_gets_what_is_popular_there():
    taken = interactions(*[("a", 3)] * 300, *[("d", 8)] * 120)
    known = knowledge(ITEMS_TABLE, taken)
    made = Recommender(VOCABULARY, IDS, [popularity.fit(taken, VOCABULARY)], known)
    by_language = segmented(ITEMS_TABLE, taken, VOCABULARY, known.playable)
    made = made.welcoming(Newcomers(Tastes(ITEMS_TABLE, known.counts), by_language))
    reasons, ranked = shown(made, segments="de")
    assert ranked.items[0] == 8
    assert reasons[8] == 'Popular with listeners of "de"'
    for others in (shown(made), shown(made, segments="xx"), shown(made, segments="en")):
        assert others[1].items[0] == 3
    assert shown(made, [1], segments="de")[1].sources[0] == ("popularity",)


def test_discoveries_say_what_they_have_to_do_with_the_history(recommender):
    reasons, _ = shown(recommender, [6, 7])
    assert reasons[1] == "New from a creator you like"
    assert reasons[5] == "New from a creator you like"
    reasons, _ = shown(recommender, [3])
    assert reasons[8] == "From a creator you like"
    assert reasons[2] == "New in jazz"
    assert reasons[5] in ("New", "People with your taste enjoy it")


def test_stated_likes_make_a_list_that_may_hold_what_they_stand_for(recommender):
    reasons, ranked = shown(recommender, stated=Stated(tags=("jazz",)))
    assert 3 in ranked.items
    assert reasons[0] == "New in jazz"
    assert reasons[3] == 'Because you like "jazz"'
    reasons, ranked = shown(recommender, stated=Stated(items=("t06",), creators=("ann",)))
    assert 6 not in ranked.items
    assert reasons[5] == reasons[0] == "New from a creator you like"
    assert recommender.newcomers.tastes.unknown(
        Stated(items=("t06", "x"), tags=("jazz", "y"), creators=("ann", "z"))
    ) == ["x", "y", "z"]


def test_a_cause_is_called_finished_enjoyed_or_liked_as_it_was():
    taste = Taste(Factors(VOCABULARY, EVEN_ONE_TASTE))
    made = Recommender(VOCABULARY, IDS, [taste, popularity.fit(TAKEN, VOCABULARY)], KNOWN)
    made = made.welcoming(Newcomers(Tastes(ITEMS_TABLE, KNOWN.counts), None))
    finished = np.array([2], np.int32)

    def first_reason(history, finished=(), items=()):
        context = Context(finished=rows_of(list(finished)), stated=[Stated(items=items)])
        return made.recommend(rows_of(history), k=1, at=AT, context=context)[0].reasons[0]

    assert first_reason([2]) == 'Because you enjoyed "t02"'
    assert first_reason([2], finished) == 'Because you finished "t02"'
    assert first_reason([], items=("t02",)) == 'Because you like "t02"'


def test_sources_must_be_ones_that_there_are():
    with pytest.raises(ValueError, match="fresher"):
        RecommendConfig(sources=("als", "fresher"))
