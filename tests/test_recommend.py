from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.candidates import Attempt
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models import popularity
from avrec.models.features import knowledge
from avrec.recommend import Context, RecommendConfig, Recommender
from avrec.rerank import RerankConfig
from avrec.schema import INTERACTIONS, ITEMS, MEDIA, conform
from avrec.stopwatch import Stopwatch
from avrec.vocab import Vocabulary

NUM_ITEMS = 12
TITLES = [f"t{i:02}" for i in range(NUM_ITEMS)]
ITEMS_TABLE = conform(pa.table({"item_id": TITLES, "title": TITLES}), ITEMS)
EVEN_ONE_TASTE = np.eye(2, dtype=np.float32)[np.arange(NUM_ITEMS) % 2]
NOBODY = Histories.of([np.empty(0, np.int32)])


@dataclass(frozen=True)
class Taste:
    """Even items are one taste, odd ones the other."""

    items: Factors
    name: str = "als"

    def user_vectors(self, histories):
        return np.asarray(histories.matrix(NUM_ITEMS) @ self.items.vectors, np.float32)


@pytest.fixture(scope="module")
def recommender():
    vocabulary = Vocabulary.of(ITEMS_TABLE["item_id"])
    plays = pa.table(
        {
            "user_id": [f"u{n}" for n in range(6)],
            "item_id": ["t03", "t03", "t03", "t04", "t04", "t07"],
            "weight": np.ones(6, np.float32),
            "at": pa.array(range(6), pa.timestamp("us", "UTC")),
        }
    )
    interactions = conform(plays, INTERACTIONS)
    known = knowledge(ITEMS_TABLE, interactions)
    taste = Taste(Factors(vocabulary, EVEN_ONE_TASTE))
    popular = popularity.fit(interactions, vocabulary)
    return Recommender(vocabulary, TITLES, [taste, popular], known, config=RecommendConfig())


def test_follows_the_taste_of_the_history(recommender):
    [ranked] = recommender.recommend(Histories.of([np.array([2, 4], np.int32)]), k=3, at=0)
    assert [row % 2 for row in ranked.items] == [0, 0, 0]
    assert ranked.reasons == ['Because you enjoyed "t02"'] * 3
    assert all("als" in proposed for proposed in ranked.sources)


def test_newcomer_gets_the_popular(recommender):
    [ranked] = recommender.recommend(NOBODY, k=3, at=0)
    assert ranked.items.tolist() == [3, 4, 7]
    assert ranked.sources == [("popularity",)] * 3


def test_ranks_candidates_of_somebody_elses_choice(recommender):
    histories = Histories.of([np.array([2, 4], np.int32), np.empty(0, np.int32)])
    candidates = Histories.of([np.array([1, 3, 4, 8], np.int32), np.array([3, 4, 5], np.int32)])
    known, nobody = recommender.rank(histories, candidates, k=9, at=0)
    assert known.items.tolist() == [4, 8, 3, 1]
    assert known.reasons[1] == 'Because you enjoyed "t02"'
    assert nobody.items.tolist() == [3, 4, 5]
    assert recommender.rank(histories, candidates, k=2, at=0)[1].items.tolist() == [3, 4]


def test_ranking_nothing_gives_nothing(recommender):
    [ranked] = recommender.rank(NOBODY, NOBODY, k=3, at=0)
    assert not len(ranked.items)


def test_chance_needs_a_request_to_come_from_and_is_told(recommender):
    config = RecommendConfig(rerank=RerankConfig(explore="softmax", temperature=9.0))
    made = Recommender(
        recommender.items, TITLES, recommender.retrievers, recommender.knowledge, config=config
    )
    [sure] = made.recommend(NOBODY, k=5, at=0)
    assert sure.policy == "rank_fusion"
    assert (sure.propensities == 1).all()
    first, again, other = (
        made.recommend(NOBODY, k=5, at=0, context=Context(request_ids=[name]))[0]
        for name in ("first", "first", "other")
    )
    assert first.policy == "rank_fusion+softmax_9_of_50"
    assert (first.propensities < 0.5).all()
    assert first.items.tolist() == again.items.tolist() != other.items.tolist()


class Clock:
    """Stands still, but for what its `spend` takes."""

    now = 0.0

    def __call__(self):
        return self.now


@dataclass(frozen=True)
class Slow(Taste):
    """Takes ten seconds of a clock."""

    clock: Clock | None = None

    def user_vectors(self, histories):
        self.clock.now += 10
        return super().user_vectors(histories)


def test_when_time_is_up_the_list_is_made_of_what_there_is_and_says_so(recommender):
    clock = Clock()
    taste = recommender.retrievers[0]
    models = [Slow(taste.items, "als", clock), Slow(taste.items, "content", clock)]
    config = RecommendConfig(rerank=RerankConfig(diversify="mmr"))
    made = Recommender(
        recommender.items,
        TITLES,
        [*models, recommender.retrievers[1]],
        recommender.knowledge,
        config=config,
    )
    histories = Histories.of([np.array([2, 4], np.int32)])
    attempt = Attempt(Stopwatch(5, clock))
    [ranked] = made.recommend(histories, k=3, at=0, attempt=attempt)
    assert attempt.watch.degraded == ["content", "rerank"]
    assert ranked.policy == "rank_fusion"
    assert ranked.items.tolist() == [0, 6, 8]
    assert attempt.watch.milliseconds["retrieve_als"] == 10_000

    nothing = Attempt(Stopwatch(0, clock))
    [popular] = made.recommend(histories, k=3, at=0, attempt=nothing)
    assert nothing.watch.degraded == ["als", "content", "rerank"]
    assert popular.items.tolist() == [3, 7, 0]

    going_on = Attempt(Stopwatch(0, clock), attempt.proposals)
    [same] = made.recommend(histories, k=3, at=0, attempt=going_on)
    assert same.items.tolist() == ranked.items.tolist()


def test_no_catalogue_gives_empty_lists():
    nothing = Vocabulary.of([])
    known = knowledge(ITEMS.empty_table(), INTERACTIONS.empty_table())
    popular = popularity.fit(INTERACTIONS.empty_table(), nothing)
    [ranked] = Recommender(nothing, [], [popular], known).recommend(NOBODY, k=3, at=0)
    assert not len(ranked.items)


@given(
    rows=st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True), min_size=1, max_size=4),
    barred=st.lists(st.integers(0, NUM_ITEMS - 1), unique=True),
    k=st.integers(1, 20),
)
def test_history_and_excluded_are_never_shown(recommender, rows, barred, k):
    histories = Histories.of([np.array(row, np.int32) for row in rows])
    exclude = Histories.of([np.array(barred, np.int32)] * len(rows))
    for row, ranked in zip(
        rows, recommender.recommend(histories, k=k, at=0, exclude=exclude), strict=True
    ):
        shown = ranked.items.tolist()
        assert not set(shown) & (set(row) | set(barred))
        assert len(shown) == len(set(shown)) <= k
        assert (np.diff(ranked.scores) <= 0).all()


@given(rows=st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True), min_size=1, max_size=4))
def test_a_batch_gives_what_each_gets_alone_and_a_larger_k_extends(recommender, rows):
    histories = [Histories.of([np.array(row, np.int32)]) for row in rows]
    together = recommender.rows(Histories.of([h.row(0) for h in histories]), 5, 0)
    for alone, row in zip(histories, together, strict=True):
        np.testing.assert_array_equal(recommender.rows(alone, 5, 0)[0], row)
        np.testing.assert_array_equal(recommender.rows(alone, 3, 0)[0], row[:3])


def test_an_item_whose_file_is_broken_is_never_shown():
    vocabulary = Vocabulary.of(ITEMS_TABLE["item_id"])
    broken = {"item_id": ["t02"], "uri": ["t02.mp4"], "error": ["truncated: no index"]}
    known = knowledge(
        ITEMS_TABLE, INTERACTIONS.empty_table(), media=conform(pa.table(broken), MEDIA)
    )
    taste = Taste(Factors(vocabulary, EVEN_ONE_TASTE))
    recommender = Recommender(vocabulary, TITLES, [taste], known)
    [ranked] = recommender.recommend(Histories.of([np.array([0], np.int32)]), k=12, at=0)
    assert ranked.items.tolist() == [4, 6, 8, 10, 1, 3, 5, 7, 9, 11]
    assert 2 not in recommender.similar(4, k=12).items


def test_similar_items_share_the_taste(recommender):
    ranked = recommender.similar(4, k=3)
    assert ranked.items.tolist() == [0, 2, 6]
    assert ranked.reasons[0] == 'Similar to "t04"'


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(recommender, k):
    with pytest.raises(ValueError, match="k must be at least 1"):
        recommender.recommend(NOBODY, k=k, at=0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        recommender.similar(0, k=k)
