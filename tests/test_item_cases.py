"""Warm, cold and overall told apart, and nothing of a hidden item known."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from avrec.arrays import unit
from avrec.embed.pool import Content
from avrec.evaluate import EvaluateConfig, evaluate, item_cases, lists_of
from avrec.factors import Factors, among
from avrec.interactions import histories, weight_matrix
from avrec.models import als, towers
from avrec.models.als import ALSConfig
from avrec.models.cold import ColdConfig, fill_cold
from avrec.models.content import ContentProfile
from avrec.models.towers_net import TowersConfig
from avrec.schema import INTERACTIONS, TIME, conform
from avrec.splits import ItemSplit, ItemSplitConfig, by_item
from avrec.vocab import Vocabulary
from tests.models.worlds import tastes

ITEMS = Vocabulary.of([f"item{n:03}" for n in range(48)])
K = 10


def table(user, item, at):
    columns = [
        pa.array([f"u{n:03}" for n in user], pa.string()),
        ITEMS.id_of(np.asarray(item, np.int32)),
        pa.array(np.ones(len(user)), pa.float32()),
        pa.array(at, pa.int64()).cast(TIME),
    ]
    return conform(pa.table(columns, names=INTERACTIONS.names[:4]), INTERACTIONS)


@pytest.fixture(scope="module")
def world():
    """Sixty users of three tastes, and content that tells the kind of an item."""
    return tastes(num_users=60, num_cold=0)


@pytest.fixture(scope="module")
def split(world):
    rows = world.histories
    whole = table(rows.query_of_item(), rows.items, rows.at)
    return by_item(whole, ItemSplitConfig(cold_share=0.25, warm_share=0.2), seed=0)


def of_als(split: ItemSplit, content: Content):
    matrix = weight_matrix(split.train, ITEMS)
    config = ALSConfig(dim=8)
    learned = als.fit(matrix.weights, config, rng=np.random.default_rng(0))
    return als.ALS(fill_cold(Factors(ITEMS, learned), content.joined(), ColdConfig()), config)


def of_towers(split: ItemSplit, content: Content):
    config = TowersConfig(dim=8, num_heads=2, history_length=8, epochs=4, batch_size=64)
    return towers.fit(histories(split.train, ITEMS).histories, content, config, seed=0)


def of_content(split: ItemSplit, content: Content):
    return ContentProfile(content)


MODELS: dict[str, Callable] = {"als": of_als, "towers": of_towers, "content": of_content}


@pytest.fixture(params=MODELS)
def fit(request):
    return MODELS[request.param]


def ranked(fit, split, content):
    model = fit(split, content)
    return {
        case.name: lists_of([among(model, able)], case, K)[model.name]
        for case, able in item_cases(split, ITEMS)
    }


def test_what_happened_to_hidden_items_changes_no_list(fit, world, split):
    """Leakage: the same pairs of hidden items, dealt out to other users."""
    order = np.random.default_rng(1).permutation(len(split.cold))
    turned = split.cold.set_column(1, "item_id", split.cold["item_id"].take(order))
    dealt = conform(turned, INTERACTIONS)
    other = ItemSplit(split.train, split.warm, dealt)
    first, second = (ranked(fit, one, world.content) for one in (split, other))
    for name, lists in first.items():
        np.testing.assert_array_equal(lists, second[name])


def test_no_history_holds_what_is_asked_for(split):
    for case, able in item_cases(split, ITEMS):
        pairs = [
            set(zip(rows.query_of_item(), rows.items, strict=True))
            for rows in (case.histories, case.relevant)
        ]
        assert not pairs[0] & pairs[1]
        assert able[case.relevant.items].all()
        assert (case.counts[case.histories.items] > 0).all()


def test_lists_hold_only_what_the_case_is_about(fit, world, split):
    for case, able in item_cases(split, ITEMS):
        found = ranked(fit, split, world.content)[case.name]
        assert able[found[found >= 0]].all()
        assert (case.name == "items/cold") == (not case.counts[found[found >= 0]].any())


def test_content_finds_hidden_items(fit, world, split):
    case, able = item_cases(split, ITEMS)[1]
    model = among(fit(split, world.content), able)
    metrics = evaluate(lists_of([model], case, 2), case, EvaluateConfig(k=(2,)), seed=0)
    found = {(row["split"], row["metric"]): row["value"] for row in metrics.to_pylist()}
    by_chance = 2 / able.sum()
    assert found["items/cold", "recall"] > 2.5 * by_chance


def test_parts_of_overall_are_warm_and_cold(split):
    warm, cold, overall = (case for case, _ in item_cases(split, ITEMS))
    assert len(overall.relevant.items) == len(warm.relevant.items) + len(cold.relevant.items)
    assert len(cold.relevant.items) == len(split.cold)


def test_a_set_whose_cold_items_are_so_by_nature_needs_no_hiding():
    """Of three items one was never trained on; the other parts of the split are empty."""
    known = table([0, 1], [3, 4], [1, 1])
    asked = table([0, 1], [4, 5], [2, 2])
    split = ItemSplit(known, asked, INTERACTIONS.empty_table())
    warm, cold, _ = (case for case, _ in item_cases(split, ITEMS))
    assert (warm.users.ids.to_pylist(), cold.users.ids.to_pylist()) == (["u000"], ["u001"])


def test_the_vectors_of_a_query_are_the_models(world):
    model = ContentProfile(Content(ITEMS, {"a": unit(np.eye(48, dtype=np.float32))}))
    some = among(model, np.arange(48) < 5)
    np.testing.assert_array_equal(
        some.user_vectors(world.histories), model.user_vectors(world.histories)
    )
    assert some.items.known().sum() == 5
