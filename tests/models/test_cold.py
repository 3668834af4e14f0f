import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from avrec.arrays import unit
from avrec.embed.pool import Content
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.index import top_k
from avrec.models import cold, towers
from avrec.models.als import ALSConfig, Side, fit, solve_rows
from avrec.models.cold import ColdConfig, _ridge, extend, fill_cold, learn
from avrec.models.towers_net import TowersConfig
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary
from tests.models.worlds import cut, tastes

NUM_KINDS, NUM_ITEMS, NUM_USERS = 3, 60, 90
KIND = np.arange(NUM_ITEMS) % NUM_KINDS
COLD = np.arange(NUM_ITEMS) >= 54
VOCABULARY = Vocabulary.of([f"{row:03}" for row in range(NUM_ITEMS)])


@pytest.fixture
def content(rng):
    """Two noisy numbers of each item's sound tell its kind."""
    centres = np.eye(NUM_KINDS)[KIND]
    return unit((centres + rng.normal(0, 0.2, centres.shape)).astype(np.float32))


@pytest.fixture
def learned(rng):
    """Factors of a world where each user plays items of one kind; the last six came too late."""
    taste = np.arange(NUM_USERS) % NUM_KINDS
    plays = (taste[:, None] == KIND) & (rng.random((NUM_USERS, NUM_ITEMS)) < 0.5) & ~COLD
    weights, config = csr_array(plays.astype(np.float32)), ALSConfig(dim=8)
    items = fit(weights, config, rng=rng)
    return taste, solve_rows(weights, Side.of(items), config), Factors(VOCABULARY, items)


def test_new_item_is_offered_to_those_of_its_kind(content, learned):
    taste, users, factors = learned
    filled = fill_cold(factors, content, ColdConfig())
    for item in np.flatnonzero(COLD):
        best = np.argsort(-(users @ filled.vectors[item]))[: NUM_USERS // NUM_KINDS]
        assert (taste[best] == KIND[item]).mean() > 0.9


def test_new_items_are_as_long_as_known_ones(content, learned):
    factors = learned[2]
    length = np.linalg.norm(fill_cold(factors, content, ColdConfig()).vectors, axis=1)
    assert length[COLD].mean() == pytest.approx(length[~COLD].mean(), rel=0.2)


def test_known_items_stay_and_items_without_content_stay_unknown(content, learned):
    factors = learned[2]
    content[-1] = 0
    filled = fill_cold(factors, content, ColdConfig())
    np.testing.assert_array_equal(filled.vectors[~COLD], factors.vectors[~COLD])
    assert filled.known().tolist() == [True] * (NUM_ITEMS - 1) + [False]


def test_nothing_known_leaves_all_unknown(content):
    nothing = Factors(VOCABULARY, np.zeros((NUM_ITEMS, 4), np.float32))
    assert not fill_cold(nothing, content, ColdConfig()).known().any()


@given(num_rows=st.integers(1, 9), dim=st.integers(1, 9), seed=st.integers(0, 999))
def test_both_forms_of_the_ridge_agree(num_rows, dim, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(num_rows, dim)), rng.normal(size=(num_rows, 2))
    expected = np.linalg.solve(X.T @ X + 0.5 * np.eye(dim), X.T @ Y)
    np.testing.assert_allclose(_ridge(X, Y, 0.5), expected, atol=1e-9)


def test_rejects_content_of_another_catalogue(learned):
    with pytest.raises(ValueError, match="content must have one row an item, got 2 for 60"):
        fill_cold(learned[2], np.ones((2, 3), np.float32), ColdConfig())


def test_likeness_follows_what_a_straight_map_cannot(rng):
    """Taste turns on whether two numbers of the content agree in sign."""
    content = unit(rng.normal(size=(300, 2)).astype(np.float32))
    agree = np.where(content[:, 0] * content[:, 1] > 0, 1.0, -1.0)
    learned = np.stack([agree, -agree], axis=1).astype(np.float32)
    learned[250:] = 0
    factors = Factors(Vocabulary.of([f"{row:03}" for row in range(300)]), learned)
    right = {}
    for sharpness in (0.0, 4.0):
        filled = fill_cold(factors, content, ColdConfig(reg=0.1, sharpness=sharpness)).vectors
        right[sharpness] = (np.sign(filled[250:, 0]) == agree[250:]).mean()
    assert right[4.0] > 0.9
    assert right[0.0] < 0.7


@pytest.mark.parametrize("sharpness", [0.0, 3.0])
def test_an_item_made_a_moment_ago_is_offered_to_those_of_its_kind(content, learned, sharpness):
    """The catalogue grows by one in the middle; nothing is trained again."""
    taste, users, factors = learned
    config = ColdConfig(sharpness=sharpness)
    grown = Vocabulary.of([*VOCABULARY.ids.to_pylist(), "005b"])
    place = grown.idx(["005b"])[0]
    told = np.insert(content, place, content[2], axis=0)
    wider = extend(factors, grown, told, learn(factors, content, config))
    found = top_k(users[taste == KIND[2]], wider.vectors, 20).idx
    assert (found == place).any(axis=1).mean() > 0.9
    others = top_k(users[taste != KIND[2]], wider.vectors, 20).idx
    assert (others == place).any(axis=1).mean() < 0.3
    known = np.delete(wider.vectors, place, axis=0)[~COLD]
    np.testing.assert_array_equal(known, factors.vectors[~COLD])


def test_a_row_of_which_nothing_is_known_stays_unknown(content, learned):
    found = learn(learned[2], content, ColdConfig()).vectors(np.zeros((2, 3), np.float32))
    assert not found.any()


@pytest.mark.parametrize("sharpness", [0.0, 3.0])
def test_a_map_comes_back_from_file(content, learned, sharpness, tmp_path):
    workspace, told = Workspace(str(tmp_path)), Content(VOCABULARY, {"a": content[:, :2]})
    found = learn(learned[2], told.joined(), ColdConfig(sharpness=sharpness))
    with workspace.create("als", Recipe({}, {})) as draft:
        cold.save(found, told, draft, "als")
    again = cold.load(workspace.open("als"), "als", told)
    np.testing.assert_array_equal(again.vectors(told.joined()), found.vectors(told.joined()))
    other = Content(VOCABULARY, {"b": content[:, :2]})
    with pytest.raises(ArtifactError, match="vectors of new items by als need the modalities"):
        cold.load(workspace.open("als"), "als", other)


def test_a_model_without_a_map_has_none(content, tmp_path):
    workspace = Workspace(str(tmp_path))
    with workspace.create("als", Recipe({}, {})) as draft:
        draft.add_json("als.json", {})
    assert cold.load(workspace.open("als"), "als", Content(VOCABULARY, {"a": content})) is None


def test_towers_take_what_content_foretells():
    """The space of the towers, as that of ALS: an item that they never saw finds its kind."""
    world = tastes(num_cold=0)
    model = towers.fit(
        cut(world.histories, 9),
        Content(world.content.items, {}),
        TowersConfig(dim=16, num_heads=2, history_length=8, epochs=6, batch_size=64, id_dropout=0),
        seed=0,
    )
    vectors = model.items.vectors.copy()
    late = np.arange(len(vectors)) >= len(vectors) - 6
    vectors[late] = 0
    known = Factors(model.items.vocabulary, vectors)
    filled = fill_cold(known, world.content.joined(), ColdConfig())
    scores = model.user_vectors(cut(world.histories, 7)) @ filled.vectors.T
    for item in np.flatnonzero(late):
        fans = world.taste_of_user == world.kind_of_item[item]
        assert scores[fans, item].mean() > scores[~fans, item].mean() + 0.2
