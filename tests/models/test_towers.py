import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avrec.errors import ArtifactError
from avrec.interactions import Histories
from avrec.models import towers
from avrec.models.towers_net import Facts, TowersConfig, TwoTowers, in_batch_loss
from avrec.models.training import Course, Crew, learn
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from tests.models.worlds import cut, tastes

CONFIG = TowersConfig(dim=16, num_heads=2, history_length=8, epochs=12, batch_size=64)


@pytest.fixture(scope="module")
def world():
    return tastes()


@pytest.fixture(scope="module")
def model(world):
    return towers.fit(cut(world.histories, 7), world.content, CONFIG, seed=1)


def hits_at_10(scores, histories, keep):
    """Share of the items after the first `keep` that are among the best ten unseen ones."""
    found = []
    for user in range(len(histories)):
        row = histories.row(user)
        scores[user, row[:keep]] = -np.inf
        found.append(np.isin(row[keep:], np.argsort(-scores[user])[:10]).mean())
    return np.mean(found)


def test_beats_popularity(world, model):
    seen = cut(world.histories, 7)
    scores = model.user_vectors(seen) @ model.items.vectors.T
    counts = np.bincount(seen.items, minlength=len(world.content.items)).astype(np.float32)
    popular = np.tile(counts, (len(seen), 1))
    assert hits_at_10(scores, world.histories, 7) > 1.3 * hits_at_10(popular, world.histories, 7)


def test_cold_item_ranks_for_the_users_of_its_kind(world, model):
    scores = model.user_vectors(cut(world.histories, 7)) @ model.items.vectors.T
    for item in np.flatnonzero(world.cold):
        fans = world.taste_of_user == world.kind_of_item[item]
        assert scores[fans, item].mean() > scores[~fans, item].mean() + 0.2


def test_vectors_are_unit_and_an_empty_history_gives_zeros(model):
    vectors = model.user_vectors(Histories.of([np.array([0, 3]), np.array([], int)]))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(model.items.vectors, axis=1), 1, atol=1e-3)


def test_item_without_content_or_history_is_unknown(world):
    vectors = world.content.modalities["planted@1"].copy()
    vectors[-1] = 0
    content = dataclasses.replace(world.content, modalities={"planted@1": vectors})
    config = dataclasses.replace(CONFIG, epochs=1)
    model = towers.fit(world.histories, content, config, seed=0)
    assert not model.items.vectors[-1].any()
    assert not model.user_vectors(Histories.of([np.array([len(vectors) - 1])])).any()


def test_batch_of_queries_does_not_change_a_vector(world, model):
    together = model.user_vectors(world.histories)
    alone = model.user_vectors(world.histories.take(np.array([5])))
    np.testing.assert_allclose(together[5:6], alone, atol=1e-6)


def test_same_seed_gives_the_same_model(world):
    config = dataclasses.replace(CONFIG, epochs=1)
    first, second = (towers.fit(world.histories, world.content, config, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.items.vectors, second.items.vectors)


def test_examples_pair_each_item_with_what_came_before():
    histories = Histories(
        np.array([0, 3, 4]),
        np.array([5, 6, 7, 8], np.int32),
        np.array([1, 1, 0.5, 1], np.float32),
        np.array([10, 20, 20, 30]),
    )
    columns = towers.examples(histories, dataclasses.replace(CONFIG, history_length=2))
    assert columns["item"].tolist() == [6, 7]
    assert columns["history"].tolist() == [[-1, 5], [-1, 5]]
    assert columns["weight"].tolist() == [1, 0.5]
    assert columns["query"].tolist() == [0, 0]


def test_loss_is_the_corrected_softmax_without_known_positives():
    """Three targets with fixed vectors; query 0 is known to like item 1 as well."""
    users, items = torch.eye(3)[:, :2], torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    log_q = np.log(np.array([0.5, 0.25, 0.25], np.float32))
    keys = np.array([0 * 3 + 0, 0 * 3 + 1, 1 * 3 + 1, 2 * 3 + 2])
    facts = Facts((), log_q, keys)
    loss = in_batch_loss(lambda *_: (users, items), facts, TowersConfig(temperature=0.5), seed=0)
    batch = {
        "query": np.arange(3),
        "item": np.arange(3, dtype=np.int32),
        "history": np.zeros((3, 1), np.int32),
        "weight": np.array([1, 2, 1], np.float32),
    }
    logits = users.numpy() @ items.numpy().T / 0.5 - log_q
    logits[0, 1] = -np.inf
    expected = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    value = loss(batch, slice(0, 3), (0, 0))
    assert float(value) == pytest.approx(expected @ [1, 2, 1] / 4, rel=1e-5)


@given(num_rows=st.integers(1, 20), size=st.integers(1, 5))
def test_a_crew_owns_every_row_of_a_batch_once(num_rows, size):
    batch = {"weight": np.ones(num_rows), "row": np.arange(num_rows)}
    owned = []
    for rank in range(size):
        crew = Crew(rank, size)
        dealt = crew.deal(batch)
        own = crew.own(dealt)
        owned += dealt["row"][own][dealt["weight"][own] > 0].tolist()
    assert sorted(owned) == list(range(num_rows))


def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(world):
    columns = towers.examples(world.histories, CONFIG)
    facts = towers.facts(world.histories, columns, world.content)
    config = dataclasses.replace(CONFIG, epochs=3)

    def run(resume=None):
        net = towers.build(facts, config, seed=2)
        loss = in_batch_loss(net, facts, config, seed=2)
        batch = {name: values[:50] for name, values in columns.items()}
        steps = learn(net, loss, lambda _: iter([batch]), config, course=Course(resume=resume))
        return net, [(step.loss, step.files()) for step in steps]

    whole, progress = run()
    resumed, rest = run(progress[1][1])
    assert len(rest) == 1
    assert progress[0][0] > progress[2][0]
    for expected, value in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


@pytest.mark.parametrize("user", ["attention", "sasrec"])
def test_a_table_that_is_too_large_is_kept_in_rows_and_changes_nothing(world, user):
    config = dataclasses.replace(CONFIG, user=user, epochs=2, validation_users=20)
    rows = dataclasses.replace(config, max_table_mb=0)
    task = towers.prepare(world.histories, world.content, rows)
    assert towers.is_sharded(task.known, rows)
    assert not towers.is_sharded(task.known, config)
    whole, sharded = (
        towers.fit(world.histories, world.content, one, seed=4) for one in (config, rows)
    )
    np.testing.assert_array_equal(sharded.items.vectors, whole.items.vectors)


def test_saved_towers_come_back_and_belong_to_their_catalogue(tmp_path, world, model):
    workspace = Workspace(str(tmp_path))
    with workspace.create("towers", workspace.recipe(CONFIG)) as draft:
        towers.save(model, draft)
    again = towers.load(workspace.open("towers"), world.content.items)
    np.testing.assert_array_equal(again.items.vectors, model.items.vectors)
    np.testing.assert_array_equal(
        again.user_vectors(world.histories), model.user_vectors(world.histories)
    )
    assert [epoch["loss"] for epoch in again.curve] == [epoch["loss"] for epoch in model.curve]
    assert len(model.curve) == CONFIG.epochs
    assert json.dumps(dataclasses.asdict(again.config)) == json.dumps(dataclasses.asdict(CONFIG))
    with pytest.raises(ArtifactError, match="another catalogue"):
        towers.load(workspace.open("towers"), Vocabulary.of(["a"]))


def test_a_validation_scores_each_epoch_of_any_user_tower(world):
    config = dataclasses.replace(CONFIG, epochs=3, validation_users=20)
    model = towers.fit(world.histories, world.content, config, seed=0)
    assert len(model.curve) == 3
    assert all(0 <= epoch["score"] <= 1 and epoch["loss"] > 0 for epoch in model.curve)


def test_an_id_that_is_dropped_gets_no_gradient(world):
    vectors = (world.content.modalities["planted@1"],)
    net = TwoTowers(len(world.content.items), vectors, CONFIG)
    keep = torch.zeros(len(world.content.items), dtype=torch.bool)
    users, items = net(torch.tensor([[-1] * 6 + [1, 2]]), torch.tensor([3]), keep)
    (users.sum() + items.sum()).backward()
    assert not net.item.ids.weight.grad.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"dim": 10, "num_heads": 4}, "dim must be a multiple of num_heads, got 10"),
        ({"id_dropout": 1.0}, r"id_dropout must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
    ],
)
def test_rejects_impossible_configurations(wrong, message):
    with pytest.raises(ValueError, match=message):
        TowersConfig(**wrong)
