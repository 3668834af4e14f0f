import numpy as np
import pytest
import torch

from avrec.arrays import unit
from avrec.embed.pool import Content
from avrec.factors import Factors
from avrec.models import cold, cold_weights
from avrec.models.cold import ColdConfig
from avrec.models.cold_weights import error
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary

NUM_ITEMS, NUM_KINDS = 90, 3
KIND = np.arange(NUM_ITEMS) % NUM_KINDS
COLD = np.arange(NUM_ITEMS) >= 75
CONFIG = ColdConfig(weight_steps=30)


@pytest.fixture
def told(rng):
    """What is seen tells the kind; what is heard, twice as wide, tells nothing."""
    centres = np.eye(NUM_KINDS)[KIND]
    seen = unit((centres + rng.normal(0, 0.2, centres.shape)).astype(np.float32))
    heard = unit(rng.normal(size=(NUM_ITEMS, 6)).astype(np.float32))
    items = Vocabulary.of([f"{row:03}" for row in range(NUM_ITEMS)])
    return Content(items, {"heard": heard, "seen": seen})


@pytest.fixture
def learned(told):
    vectors = np.eye(NUM_KINDS, dtype=np.float32)[KIND]
    vectors[COLD] = 0
    return Factors(told.items, vectors)


def test_the_error_is_that_of_items_left_out_one_by_one(rng):
    Y = rng.normal(size=(7, 2))
    rows = [unit(rng.normal(size=(7, 3))) for _ in range(2)]
    cosines, weights, reg = np.stack([one @ one.T for one in rows]), np.array([0.5, 1.5]), 0.3
    K = np.exp(np.tensordot(weights, cosines, 1) - 2)
    missed = 0.0
    for item in range(7):
        rest = np.arange(7) != item
        foretold = K[item, rest] @ np.linalg.solve(K[np.ix_(rest, rest)] + reg * np.eye(6), Y[rest])
        missed += ((Y[item] - foretold) ** 2).sum()
    settings = torch.tensor([*weights, reg])
    found = error(torch.from_numpy(Y), torch.from_numpy(cosines), settings)
    assert float(found) == pytest.approx(missed / (Y**2).sum())


def test_a_modality_that_tells_nothing_weighs_little(told, learned):
    warm = ~COLD
    modalities = [told.modalities[name][warm] for name in ("heard", "seen")]
    found = cold_weights.learn(learned.vectors[warm], modalities, steps=30)
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights[0] < 0.2


def test_what_no_score_turns_on_is_not_looked_at(told):
    """What is seen tells long coordinates; what is heard, perfectly, some that are never large."""
    kind = np.eye(NUM_KINDS, dtype=np.float32)[KIND]
    vectors = np.concatenate([3 * kind, 0.3 * told.modalities["heard"]], axis=1)
    modalities = [told.modalities[name] for name in ("heard", "seen")]
    assert cold_weights.learn(vectors, modalities, steps=30).weights[0] < 0.2


def test_items_that_are_all_the_same_say_nothing_of_weights(told):
    modalities = list(told.modalities.values())
    found = cold_weights.learn(np.ones((NUM_ITEMS, 2), np.float32), modalities, steps=5)
    np.testing.assert_allclose(found.weights, 0.5)


def test_learned_weights_bring_a_new_item_nearer_to_its_kind(told, learned):
    def missed(config):
        vectors = cold.learn_from(learned, told, config).vectors(told.joined()[COLD])
        return ((vectors - np.eye(NUM_KINDS)[KIND[COLD]]) ** 2).sum()

    alike = ColdConfig(sharpness=cold_weights.SHARPNESS, reg=cold_weights.REG)
    assert missed(CONFIG) < 0.7 * missed(alike)


def test_without_steps_the_map_is_that_of_joined_content(told, learned):
    found = cold.learn_from(learned, told, ColdConfig()).vectors(told.joined())
    expected = cold.learn(learned, told.joined(), ColdConfig()).vectors(told.joined())
    np.testing.assert_array_equal(found, expected)


def test_nothing_learned_gives_no_map(told):
    nothing = Factors(told.items, np.zeros((NUM_ITEMS, 2), np.float32))
    assert cold.learn_from(nothing, told, CONFIG) is None


def test_learned_weights_come_back_from_file(told, learned, tmp_path):
    workspace = Workspace(str(tmp_path))
    found = cold.learn_from(learned, told, CONFIG)
    with workspace.create("als", Recipe({}, {})) as draft:
        cold.save(found, told, draft, "als")
    again = cold.load(workspace.open("als"), "als", told)
    np.testing.assert_array_equal(again.vectors(told.joined()), found.vectors(told.joined()))


def test_rejects_steps_below_none():
    with pytest.raises(ValueError, match="weight_steps must be at least 0, got -1"):
        ColdConfig(weight_steps=-1)
