from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.arrays import unit
from avrec.rerank import DAY, DIVERSIFY, EXPLORE, Pool, RerankConfig, refreshed, rerank, seeded


def pool(scores, vectors=None, creators=None):
    count = len(scores)
    vectors = np.zeros((count, 0)) if vectors is None else vectors
    creators = np.full(count, -1) if creators is None else creators
    return Pool(
        np.array(scores, np.float32), np.array(vectors, np.float32), np.array(creators, np.int32)
    )


@st.composite
def pools(draw, max_size=12):
    count = draw(st.integers(0, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    vectors = unit(rng.normal(size=(count, 4)).astype(np.float32))
    vectors[rng.random(count) < 0.2] = 0
    return pool(rng.random(count), vectors, rng.integers(-1, 3, count))


configs = st.builds(
    RerankConfig,
    diversify=st.sampled_from(DIVERSIFY),
    diversity=st.floats(0, 1),
    max_per_creator=st.integers(0, 3),
    explore=st.sampled_from(EXPLORE),
    epsilon=st.floats(0, 1),
    temperature=st.floats(0.01, 10),
    reach=st.integers(1, 15),
)


@given(pool=pools(), config=configs, k=st.integers(1, 15), seed=st.integers(0, 9))
def test_a_list_holds_each_once_within_the_caps_and_a_larger_k_extends_it(pool, config, k, seed):
    longer = rerank(pool, 15, config, np.random.default_rng(seed))
    shown = rerank(pool, k, config, np.random.default_rng(seed))
    assert shown.entries.tolist() == longer.entries[:k].tolist()
    assert len(set(longer.entries.tolist())) == len(longer.entries)
    assert ((longer.propensities > 0) & (longer.propensities <= 1)).all()
    creators = pool.creators[longer.entries]
    most = config.max_per_creator
    if most:
        counts = np.bincount(creators[creators >= 0], minlength=3)
        assert (counts <= most).all()
        left = np.setdiff1d(np.arange(len(pool.scores)), longer.entries)
        assert (pool.creators[left] >= 0).all()
        assert (counts[pool.creators[left]] == most).all()
    else:
        assert len(longer.entries) == len(pool.scores)


@given(pool=pools(), config=configs)
def test_without_chance_every_place_is_sure(pool, config):
    first, second = (rerank(pool, 9, config) for _ in range(2))
    assert first.entries.tolist() == second.entries.tolist()
    assert (first.propensities == 1).all()


@given(pool=pools(), name=st.sampled_from(["mmr", "dpp"]))
def test_no_diversity_is_the_order_of_the_scores(pool, name):
    plain = rerank(pool, 12, RerankConfig())
    assert plain.entries.tolist() == np.argsort(-pool.scores, kind="stable").tolist()
    diverse = rerank(pool, 12, RerankConfig(diversify=name, diversity=0))
    assert diverse.entries.tolist() == plain.entries.tolist()


def test_mmr_passes_over_what_repeats_what_stands_above():
    twins = pool([1, 0.9, 0.5], [[1, 0], [1, 0], [0, 1]])
    assert rerank(twins, 3, RerankConfig(diversify="mmr", diversity=0.5)).entries.tolist() == [
        0,
        2,
        1,
    ]
    gentle = RerankConfig(diversify="mmr", diversity=0.1)
    assert rerank(twins, 3, gentle).entries.tolist() == [0, 1, 2]


@given(pool=pools(max_size=6), diversity=st.floats(0.05, 0.95))
def test_dpp_adds_each_time_what_makes_the_largest_determinant(pool, diversity):
    shown = rerank(pool, 4, RerankConfig(diversify="dpp", diversity=diversity)).entries.tolist()
    likeness = pool.vectors.astype(float) @ pool.vectors.T
    np.fill_diagonal(likeness, 1)
    relevance = pool.scores / max(pool.scores.max(initial=0), 1e-9)

    def gain(chosen):
        volume = np.linalg.slogdet(likeness[np.ix_(chosen, chosen)])[1]
        return (1 - diversity) * relevance[chosen].sum() + diversity * volume

    for place, entry in enumerate(shown):
        above = shown[:place]
        others = [e for e in range(len(pool.scores)) if e not in above]
        best = max(gain([*above, other]) for other in others)
        assert gain([*above, entry]) >= best - 1e-3


def test_dpp_lists_what_is_alike_last():
    twins = pool([1, 1, 0.2], [[1, 0], [1, 0], [0, 1]])
    shown = rerank(twins, 3, RerankConfig(diversify="dpp", diversity=0.5))
    assert shown.entries.tolist() == [0, 2, 1]


CHANCES = [
    RerankConfig(explore="softmax", temperature=0.5),
    RerankConfig(explore="epsilon", epsilon=0.4, reach=3),
    RerankConfig(explore="softmax", temperature=1, diversify="mmr", max_per_creator=1),
    RerankConfig(explore="epsilon", epsilon=0.9, diversify="dpp", reach=2),
]


@pytest.mark.parametrize(
    "config", CHANCES, ids=lambda c: "+".join(c.names(reranked=True, drawn=True))
)
def test_lists_come_as_often_as_their_propensities_say(config):
    world = pool([1, 0.8, 0.5, 0.1], np.eye(4)[[0, 0, 1, 2]], [0, 0, 1, -1])
    rng, draws = np.random.default_rng(7), 4000
    often, told = {}, {}
    for _ in range(draws):
        shown = rerank(world, 3, config, rng)
        name = tuple(shown.entries.tolist())
        often[name] = often.get(name, 0) + 1
        told.setdefault(name, float(np.prod(shown.propensities.astype(float))))
    assert sum(told.values()) == pytest.approx(1, abs=0.02)
    for name, count in often.items():
        deviation = np.sqrt(told[name] * (1 - told[name]) / draws)
        assert abs(count / draws - told[name]) < 5 * deviation + 1e-9


def test_softmax_alone_is_plackett_and_luce():
    config = RerankConfig(explore="softmax", temperature=0.7)
    worth = np.exp(np.array([1, 0.5, 0.25]) / 0.7)
    world = pool([2, 1, 0.5])
    told = {}
    for seed in range(300):
        shown = rerank(world, 3, config, np.random.default_rng(seed))
        told[tuple(shown.entries.tolist())] = shown.propensities
    assert set(told) == set(permutations(range(3)))
    for order, chances in told.items():
        left = worth.sum() - np.cumsum([0, *worth[list(order)][:-1]])
        np.testing.assert_allclose(chances, worth[list(order)] / left, rtol=1e-5)


def test_a_request_can_be_drawn_again():
    config, world = RerankConfig(explore="softmax", temperature=5), pool(np.ones(9))
    lists = {tuple(rerank(world, 9, config, seeded(f"r{n % 5}")).entries) for n in range(20)}
    assert len(lists) == 5


def test_new_items_gain_by_half_lives():
    config = RerankConfig(freshness=1, half_life_days=2)
    at = 100 * DAY
    published = np.array([at, at - 2 * DAY, at - 4 * DAY, at + DAY, -1])
    scores = refreshed(np.full(5, 2, np.float32), published, at, config)
    np.testing.assert_allclose(scores, [4, 3, 2.5, 4, 2])
    same = np.ones(5, np.float32)
    assert refreshed(same, published, at, RerankConfig()) is same


@pytest.mark.parametrize(
    "wrong",
    [
        {"diversify": "best"},
        {"explore": "yes"},
        {"diversity": 1.1},
        {"epsilon": -0.1},
        {"max_per_creator": -1},
        {"freshness": float("nan")},
        {"half_life_days": 0},
        {"temperature": 0},
        {"reach": 0},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RerankConfig(**wrong)
