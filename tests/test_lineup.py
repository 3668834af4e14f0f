from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec import baselines, lineup
from avrec.embed import pool
from avrec.embed.pool import Content
from avrec.evaluate import EvaluateConfig, evaluate
from avrec.factors import Factors
from avrec.interactions import histories, weight_matrix
from avrec.models import als, towers
from avrec.models.als import ALS, ALSConfig, fit
from avrec.models.bpr import BPRConfig
from avrec.models.neighbours import NeighboursConfig
from avrec.models.svd import SVDConfig
from avrec.models.towers_net import TowersConfig
from avrec.recommend import RecommendConfig
from avrec.schema import ITEMS as ITEMS_SCHEMA
from avrec.schema import MEDIA, conform, empty
from avrec.schema import USERS as USERS_SCHEMA
from avrec.splits import Split
from avrec.store import Recipe, Workspace
from avrec.users import told
from avrec.vocab import Vocabulary
from tests.test_evaluate import interactions

USERS = "abcdefghijklmnopqrst"
ITEMS = Vocabulary.of([f"{row:02}" for row in range(20)])
"""Twenty users of two tastes; each misses one item, and takes to it after the cut."""


@pytest.fixture
def split() -> Split:
    missed = [f"{user}{row:02}" for row, user in enumerate(USERS)]
    liked = [f"{u}{i:02}" for row, u in enumerate(USERS) for i in range(row % 2, 20, 2)]
    before = interactions(" ".join(set(liked) - set(missed)), 0)
    after = interactions(" ".join(missed), 20)
    return Split(before, before.slice(0, 0), after, 0, 0)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    made = Workspace(str(tmp_path))
    items = pa.table({"item_id": ITEMS.ids, "title": ITEMS.ids})
    made.write_table("items", items, ITEMS_SCHEMA, Recipe({}, {}))
    made.write_table("media", empty(MEDIA), MEDIA, Recipe({}, {}))
    return made


def test_without_models_there_is_popularity(workspace, split):
    asked = lineup.answers(workspace, split, RecommendConfig(), 3)
    assert [set(lists) for _, lists in asked] == [{"popularity", "popularity_7d", "fused"}] * 2


def test_models_that_were_made_are_compared(workspace, split, rng):
    config = ALSConfig(dim=4)
    weights = weight_matrix(split.train, ITEMS).weights
    with workspace.create("als", Recipe({}, {})) as draft:
        als.save(ALS(Factors(ITEMS, fit(weights, config, rng=rng)), config), draft)
    with workspace.create("content", Recipe({}, {})) as draft:
        taste = np.eye(2, dtype=np.float32)[np.arange(20) % 2]
        pool.save(Content(ITEMS, {"sound@1": taste}), draft)

    case, lists = lineup.answers(workspace, split, RecommendConfig(), 1)[0]
    metrics = evaluate(lists, case, EvaluateConfig(k=(1,)), seed=0).to_pylist()
    found = {row["model"]: row["value"] for row in metrics if row["metric"] == "recall"}
    assert found["als"] == found["content"] == found["fused"] == 1
    assert found["popularity"] < 0.2


def test_baselines_that_were_made_are_compared_and_propose_where_named(workspace, split):
    weights = weight_matrix(split.train, ITEMS).weights
    sections = {
        "svd": SVDConfig(dim=4),
        "bpr": BPRConfig(dim=4),
        "item_neighbours": NeighboursConfig(),
        "user_neighbours": NeighboursConfig(side="user"),
    }
    for name, section in sections.items():
        with workspace.create(name, Recipe({}, {})) as draft:
            baselines.save(baselines.fit(weights, ITEMS, section, seed=0), draft)

    def asked(*sources):
        config = RecommendConfig(sources=sources)
        return lineup.answers(workspace, split, config, 1)[0].lists

    names = {"popularity", "popularity_7d", "svd", "bpr", "item_bm25", "user_bm25", "fused"}
    assert set(asked()) == names
    np.testing.assert_array_equal(asked()["fused"], asked()["popularity"])
    lists = asked("svd", "item_neighbours", "user_neighbours")
    assert set(lists) == names
    missed = ITEMS.idx([f"{row:02}" for row in range(20)])
    np.testing.assert_array_equal(lists["fused"][:, 0], missed)


def test_whom_a_model_does_not_know_gets_the_popular(workspace, split, rng):
    newcomer = replace(split, test=interactions("z00 a00", 20))
    config = ALSConfig(dim=4)
    weights = weight_matrix(split.train, ITEMS).weights
    with workspace.create("als", Recipe({}, {})) as draft:
        als.save(ALS(Factors(ITEMS, fit(weights, config, rng=rng)), config), draft)
    case, lists = lineup.answers(workspace, newcomer, RecommendConfig(), 3)[0]
    [row] = case.users.idx(["z"])
    np.testing.assert_array_equal(lists["als"][row], lists["popularity"][row])
    [known] = case.users.idx(["a"])
    assert not np.array_equal(lists["als"][known], lists["popularity"][known])


def test_a_model_that_knows_profiles_lists_for_whom_it_has_no_history(workspace, split):
    """The newcomer is of the sex of those who take to even items."""
    people = {"user_id": [*USERS, "z"], "field": ["sex"] * 21, "value": ["f", "m"] * 10 + ["f"]}
    table = conform(pa.table(people), USERS_SCHEMA)
    workspace.write_table("users", table, USERS_SCHEMA, Recipe({}, {}))
    users, past = histories(split.train, ITEMS)
    config = TowersConfig(dim=16, num_heads=2, history_length=4, batch_size=60, profile=("sex",))
    model = towers.fit(told(past, users, table), Content(ITEMS, {}), config, seed=0)
    with workspace.create("towers", Recipe({}, {})) as draft:
        towers.save(model, draft)
    newcomer = replace(split, test=interactions("z00 a00", 20))
    case, lists = lineup.answers(workspace, newcomer, RecommendConfig(sources=("towers",)), 4)[0]
    [row] = case.users.idx(["z"])
    for name in ("towers", "fused"):
        assert (lists[name][row] % 2 == 0).all()
