import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from avrec.embed.pool import Content
from avrec.interactions import Histories
from avrec.models import negatives, towers
from avrec.models.sequence_config import FREQUENCIES, LOSSES, SequenceConfig
from avrec.models.sequences import last_vectors, sequence_loss, targets_of
from avrec.models.towers_net import TowersConfig
from avrec.models.training import ALONE, TRAINING, Course, Crew, curve, learn, shuffled, windows
from avrec.models.user_towers import KINDS
from avrec.schema import EVENT_KINDS
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from tests.models.worlds import cut, tastes

NUM_ITEMS = 24
CONFIG = TowersConfig(
    dim=16,
    num_heads=2,
    history_length=8,
    epochs=12,
    batch_size=64,
    learning_rate=0.03,
    weight_decay=0.0,
    user="sasrec",
    sequence=SequenceConfig(num_blocks=1, dropout=0.1, num_negatives=12),
)
CONTENT = Content(Vocabulary.of([f"i{n:02}" for n in range(NUM_ITEMS)]), {})


def changed(config=CONFIG, *, user="sasrec", **sequence):
    return dataclasses.replace(
        config, user=user, sequence=dataclasses.replace(config.sequence, **sequence)
    )


@pytest.fixture(scope="module")
def ring() -> Histories:
    """Whoever takes to an item takes to the next one of the ring; rows of 2 to 20 items."""
    rng = np.random.default_rng(0)
    rows = [
        (rng.integers(NUM_ITEMS) + np.arange(rng.integers(2, 21))) % NUM_ITEMS for _ in range(60)
    ]
    return Histories.of([row.astype(np.int32) for row in rows])


def first_guess(model, histories):
    return np.argmax(model.user_vectors(histories) @ model.items.vectors.T, axis=1)


STARTS = Histories.of([np.array([n, n + 1, n + 2], np.int32) % NUM_ITEMS for n in range(NUM_ITEMS)])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mean"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_what_follows_is_foretold(ring, kind, similarity):
    model = towers.fit(ring, CONTENT, changed(user=kind, similarity=similarity), seed=0)
    expected = (np.arange(NUM_ITEMS) + 3) % NUM_ITEMS
    assert (first_guess(model, STARTS) == expected).mean() > 0.8


GENTLY = {"epochs": 25, "batch_size": 16, "learning_rate": 0.01}


@pytest.mark.parametrize(
    ("loss", "negatives", "pace"),
    [
        *(("sampled", kind, {"epochs": 20}) for kind in negatives.KINDS),
        ("gbce", "mixed", GENTLY),
    ],
)
def test_negatives_stand_for_the_catalogue(ring, loss, negatives, pace):
    config = dataclasses.replace(changed(loss=loss, negatives=negatives), **pace)
    model = towers.fit(ring, CONTENT, config, seed=0)
    expected = (np.arange(NUM_ITEMS) + 3) % NUM_ITEMS
    assert (first_guess(model, STARTS) == expected).mean() > 0.8


def test_a_mean_learns_a_taste_and_content_carries_cold_items():
    world = tastes()
    config = dataclasses.replace(changed(user="mean"), id_dropout=0.5)
    model = towers.fit(cut(world.histories, 7), world.content, config, seed=1)
    scores = model.user_vectors(cut(world.histories, 7)) @ model.items.vectors.T
    for item in np.flatnonzero(world.cold):
        fans = world.taste_of_user == world.kind_of_item[item]
        assert scores[fans, item].mean() > scores[~fans, item].mean() + 0.1


def parts(ring, config, seed=0):
    """Untrained towers, their loss, and one batch."""
    task = towers.prepare(ring, CONTENT, config)
    net = towers.build(task.known, config, seed)
    loss, memory = sequence_loss(net, task.known, config, seed)
    batch = next(shuffled(windows(task.columns), config.batch_size, (seed, 0)))
    return net, loss, batch, memory


def test_loss_is_the_mean_over_steps_of_the_softmax(ring):
    """A mean does not count places, so that each step is as if the history ended there."""
    config = dataclasses.replace(changed(user="mean", dropout=0.0), batch_size=16)
    net, loss, batch, _ = parts(ring, config)
    marks = batch["marks"] * np.arange(1, 17, dtype=np.float32)[:, None]
    dealt = ALONE.deal({**batch, "marks": marks})
    items = net.encode(torch.arange(NUM_ITEMS), torch.ones(NUM_ITEMS)).detach()
    total = weight = 0.0
    for row, mark in zip(batch["items"], marks, strict=True):
        for stop in range(1, int((row >= 0).sum())):
            past = Histories.of([row[:stop]])
            query = torch.from_numpy(last_vectors(net.user, items.numpy(), past, config))
            target = torch.tensor([row[stop]], dtype=torch.long)
            each = functional.cross_entropy(query @ items.T / config.temperature, target)
            total, weight = total + float(each) * mark[stop], weight + mark[stop]
    value = loss(dealt, ALONE.own(dealt), (0, 0)).item()
    assert value == pytest.approx(total / weight, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_workers_share_a_batch_without_changing_its_loss(ring, kind, loss):
    """Dropout, negatives and all: gradients of three workers add up to those of one."""
    net, whole, batch, _ = parts(ring, changed(user=kind, loss=loss, dropout=0.3))

    def gradients(crew):
        dealt = crew.deal(batch)
        net.zero_grad()
        value = whole(dealt, crew.own(dealt), (2, 5))
        value.backward()
        return value.detach(), [p.grad.clone() for p in net.parameters()]

    value, expected = gradients(ALONE)
    shares = [gradients(Crew(rank, 3)) for rank in range(3)]
    torch.testing.assert_close(sum(share[0] for share in shares), value)
    for place, gradient in enumerate(expected):
        torch.testing.assert_close(
            sum(share[1][place] for share in shares), gradient, rtol=1e-4, atol=1e-6
        )


def test_another_step_drops_and_draws_otherwise(ring):
    _, loss, batch, _ = parts(ring, changed(loss="sampled", dropout=0.3))
    dealt = ALONE.deal(batch)
    first, again, other = (
        loss(dealt, ALONE.own(dealt), at).item() for at in ((0, 1), (0, 1), (0, 2))
    )
    assert first == again
    assert first != other


def test_an_item_of_weight_0_is_read_but_not_foretold(ring):
    """A mean does not count places, so the rest of a window may as well be cut off."""
    _, loss, batch, _ = parts(ring, changed(user="mean", dropout=0.0))
    unliked = batch["marks"].copy()
    unliked[:, 2:] = 0
    cut_off = {name: v[:, :2] if v.ndim > 1 else v for name, v in batch.items()}
    values = []
    for one in ({**batch, "marks": unliked}, cut_off):
        dealt = ALONE.deal(one)
        values.append(loss(dealt, ALONE.own(dealt), (0, 0)).item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def run(ring, config, resume=None):
    task = towers.prepare(ring, CONTENT, config)
    net = towers.build(task.known, config, seed=2)
    loss, course = towers.objective(net, task.known, task.held, config, seed=2)(net, ALONE)
    course = dataclasses.replace(course, resume=resume)

    def batches(epoch):
        return shuffled(windows(task.columns), config.batch_size, (2, epoch))

    steps = [(step, step.files()) for step in learn(net, loss, batches, config, course=course)]
    return net, steps


@pytest.mark.parametrize("frequencies", FREQUENCIES)
def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(ring, frequencies):
    config = changed(
        dataclasses.replace(CONFIG, epochs=4, validation_users=20),
        loss="sampled",
        frequencies=frequencies,
        average=0.9,
    )
    whole, progress = run(ring, config)
    resumed, rest = run(ring, config, progress[1][1])
    assert [step.epoch for step, _ in rest] == [2, 3]
    assert [step.score for step, _ in rest] == [step.score for step, _ in progress[2:]]
    for expected, value in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_the_best_epoch_is_kept_and_impatience_ends_the_run(ring):
    config = dataclasses.replace(CONFIG, epochs=50, validation_users=30, patience=3)
    net, progress = run(ring, config)
    scores = [step.score for step, _ in progress]
    assert len(scores) - 1 - int(np.argmax(scores)) == 3
    task = towers.prepare(ring, CONTENT, config)
    assert towers.ndcg_of(net, task.held, config) == pytest.approx(max(scores))
    files = progress[-1][1]
    again = towers.from_files(files, task, CONTENT, config)
    assert towers.ndcg_of(net, task.held, config) == pytest.approx(max(scores))
    assert [one["score"] for one in curve(files)] == scores
    expected = towers.finished(net, task.held.learned, CONTENT, config)
    np.testing.assert_array_equal(again.items.vectors, expected.items.vectors)
    assert not run(ring, config, files)[1]


def test_what_judges_is_not_learned_from(ring):
    config = dataclasses.replace(CONFIG, validation_users=10)
    task = towers.prepare(ring, CONTENT, config)
    assert len(task.held.targets) == 10
    whole = towers.prepare(ring, CONTENT, CONFIG)
    assert len(targets_of(task.columns)) == len(targets_of(whole.columns)) - 10
    again = towers.prepare(ring, CONTENT, config)
    np.testing.assert_array_equal(task.held.targets, again.held.targets)


def test_saved_towers_come_back(tmp_path, ring):
    config = dataclasses.replace(changed(user="hstu", with_times=True), epochs=1)
    model = towers.fit(ring, CONTENT, config, seed=0)
    workspace = Workspace(str(tmp_path))
    with workspace.create("towers", workspace.recipe(config)) as draft:
        towers.save(model, draft)
    again = towers.load(workspace.open("towers"), CONTENT.items)
    assert again.config == config
    np.testing.assert_array_equal(again.user_vectors(ring), model.user_vectors(ring))


def test_a_history_in_company_and_an_empty_one(ring):
    model = towers.fit(ring, CONTENT, dataclasses.replace(CONFIG, epochs=1), seed=0)
    together = model.user_vectors(ring)
    alone = model.user_vectors(ring.take(np.array([7])))
    np.testing.assert_allclose(together[7:8], alone, atol=1e-6)
    nobody = model.user_vectors(Histories.of([np.array([], np.int32), np.array([3], np.int32)]))
    np.testing.assert_allclose(np.linalg.norm(nobody, axis=1), [0, 1], atol=1e-3)
    assert model.user_vectors(Histories.of([])).shape == (0, 16)


def turning():
    """After what is liked comes the next item of the ring, after what is played the one before.

    Half of all steps are likes, watched to the end.
    """
    rng = np.random.default_rng(0)
    liked = rng.random((150, 10)) < 0.5
    turns = np.where(liked, 1, -1)
    rows = (rng.integers(NUM_ITEMS, size=(150, 1)) + np.cumsum(turns, axis=1) - turns) % NUM_ITEMS
    kinds = np.where(liked, 1 + EVENT_KINDS.index("like"), 1 + EVENT_KINDS.index("play"))
    flat = Histories.of(list(rows.astype(np.int32)))
    shares = np.where(liked, 1.0, 0.3).astype(np.float32).ravel()
    told = dataclasses.replace(flat, kinds=kinds.astype(np.int8).ravel(), shares=shares)
    return told, rows[:, -1] + turns[:, -1]


@pytest.mark.parametrize(
    ("read", "least", "most"),
    [("with_kinds", 0.8, 1), ("with_shares", 0.8, 1), ("with_weights", 0, 0.65)],
)
def test_what_kind_of_event_it_was_and_how_much_was_watched_is_learned_from(read, least, most):
    """Weights are all one, so that who reads nothing else can only guess which way it goes."""
    histories, following = turning()
    config = dataclasses.replace(CONFIG, batch_size=75, epochs=25)
    model = towers.fit(histories, CONTENT, changed(config, **{read: True}), seed=0)
    right = (first_guess(model, histories) == following % NUM_ITEMS).mean()
    assert least <= right <= most


def test_an_average_of_weights_is_what_is_kept(ring):
    config = dataclasses.replace(CONFIG, epochs=2)
    task = towers.prepare(ring, CONTENT, config)
    net = towers.build(task.known, config, seed=0)
    loss, _ = sequence_loss(net, task.known, config, seed=0)
    seen = []

    def watched(batch, own, at):
        seen.append(net.item.ids.weight.detach().clone())
        return loss(batch, own, at)

    def batches(epoch):
        return shuffled(windows(task.columns), 1000, (0, epoch))

    steps = learn(net, watched, batches, config, course=Course(average=0.5))
    files = [step.files() for step in steps]
    assert len(seen) == len(files) == 2
    last = safetensors.torch.load(files[-1][TRAINING])["net.item.ids.weight"]
    decays = 2 / 11, 3 / 12  # the average moves faster at first
    expected = decays[1] * (decays[0] * seen[0] + (1 - decays[0]) * seen[1])
    expected += (1 - decays[1]) * last
    torch.testing.assert_close(net.item.ids.weight.detach(), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "bpr"}, "loss must be among"),
        ({"num_blocks": 0}, "num_blocks must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"batch_share": 1.5}, r"batch_share and calibration must be in \[0, 1\], got \(1.5"),
    ],
)
def test_rejects_impossible_configurations(wrong, message):
    with pytest.raises(ValueError, match=message):
        SequenceConfig(**wrong)
