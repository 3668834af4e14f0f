"""Who asks and when, in planted worlds: what a tower makes of it, and what it may not see."""

import dataclasses

import numpy as np
import pytest
import torch

from avrec.embed.pool import Content
from avrec.interactions import Histories
from avrec.models import askers, towers
from avrec.models.askers import DAY, HOUR, Coding
from avrec.models.sequence_config import USERS, SequenceConfig
from avrec.models.sequences import sequence_loss
from avrec.models.towers_net import TowersConfig, in_batch_loss
from avrec.models.training import ALONE, Crew, shuffled, windows
from avrec.store import Workspace
from avrec.vocab import Vocabulary

NUM_ITEMS, NUM_USERS, LENGTH = 24, 120, 4
ITEMS = Vocabulary.of([f"i{n:02}" for n in range(NUM_ITEMS)])
CONTENT = Content(ITEMS, {})
CONFIG = TowersConfig(
    dim=16,
    num_heads=2,
    history_length=6,
    epochs=10,
    batch_size=30,
    learning_rate=0.01,
    weight_decay=0.0,
    user="sasrec",
    profile=("age", "sex"),
    context=("hour", "weekday"),
    sequence=SequenceConfig(num_blocks=1, dropout=0.0, places="start"),
)
KINDS = USERS
MONDAY = 4 * DAY


@pytest.fixture(scope="module")
def world() -> Histories:
    """Who is of sex "f" takes to the first half of the items, "m" to the second.

    The even ones of either in the morning, the odd ones in the evening.
    """
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(NUM_USERS), LENGTH)
    evening = rng.integers(0, 2, len(user))
    items = 12 * (user % 2) + 2 * rng.integers(0, 6, len(user)) + evening
    days = np.tile(np.arange(LENGTH), NUM_USERS) + 7 * rng.integers(0, 5, NUM_USERS)[user]
    return Histories(
        np.arange(0, len(user) + 1, LENGTH),
        items.astype(np.int32),
        np.ones(len(user), np.float32),
        MONDAY + days * DAY + (8 + 12 * evening) * HOUR,
        profile={
            "sex": np.array(["f", "m"])[np.arange(NUM_USERS) % 2],
            "age": 20.0 + np.arange(NUM_USERS),
        },
    )


def config(kind, **changes):
    return dataclasses.replace(CONFIG, user=kind, **changes)


def askers_of(**profile):
    """Nobody's history, by each value of the fields."""
    rows = Histories.of([np.empty(0, np.int32)] * len(next(iter(profile.values()))))
    return dataclasses.replace(rows, profile={k: np.array(v) for k, v in profile.items()})


@pytest.fixture(scope="module", params=["attention", "sasrec"])
def model(request, world):
    return towers.fit(world, CONTENT, config(request.param), seed=0)


def share_of_first_half(model, histories):
    scores = model.user_vectors(histories) @ model.items.vectors.T
    return (np.argsort(-scores, axis=1)[:, :6] < 12).mean(axis=1)


def test_a_profile_says_what_a_history_does_not(model):
    first, second = share_of_first_half(model, askers_of(sex=["f", "m"]))
    assert first > 0.8
    assert second < 0.2


def test_the_hour_says_which_of_them(model):
    newcomers = askers_of(sex=["f", "f"])
    asked = dataclasses.replace(newcomers, asked_at=MONDAY + np.array([8, 20]) * HOUR)
    scores = model.user_vectors(asked) @ model.items.vectors.T
    morning, evening = (np.argsort(-scores, axis=1)[:, :4] % 2).mean(axis=1)
    assert evening > morning + 0.4


def test_what_is_missing_or_never_met_is_unknown(model, world):
    some = world.take(np.arange(6)).asked(MONDAY)
    nothing = dataclasses.replace(some, profile=None)
    blank = {"sex": np.full(6, ""), "age": np.full(6, np.nan)}
    never = {"sex": np.full(6, "x"), "age": np.full(6, "x"), "town": np.full(6, "x")}
    expected = model.user_vectors(nothing)
    assert not np.allclose(expected, model.user_vectors(some))
    for profile in (blank, never, {}):
        found = model.user_vectors(dataclasses.replace(some, profile=profile))
        np.testing.assert_array_equal(found, expected)


def test_somebody_of_whom_nothing_is_known_gives_zeros(model):
    vectors = model.user_vectors(askers_of(sex=["f", "", "x"]).asked(MONDAY))
    assert vectors.any(axis=1).tolist() == [True, False, False]


def test_company_and_order_change_nothing(model, world):
    together = model.user_vectors(world.asked(MONDAY))
    some = np.array([7, 3, 7])
    alone = model.user_vectors(world.take(some).asked(MONDAY))
    np.testing.assert_allclose(alone, together[some], atol=1e-5)


def test_a_number_is_read_as_a_curve(model):
    ages = model.user_vectors(askers_of(age=[50.0, 50.1, 90.0, 1e9, 1e12]))
    near, far = np.abs(ages[0] - ages[1]).max(), np.abs(ages[0] - ages[2]).max()
    assert 0 < near < 0.2 * far
    np.testing.assert_array_equal(ages[3], ages[4])


def test_order_of_fields_does_not_matter(world):
    turned = dict(reversed(world.profile.items()))
    one = towers.fit(world, CONTENT, config("sasrec", epochs=1), seed=0)
    other = towers.fit(
        dataclasses.replace(world, profile=turned),
        CONTENT,
        config("sasrec", epochs=1, profile=("sex", "age"), context=("weekday", "hour")),
        seed=0,
    )
    np.testing.assert_array_equal(one.user_vectors(world), other.user_vectors(world))


def test_comes_back_from_disk_as_it_was(model, world, tmp_path):
    workspace = Workspace(str(tmp_path))
    with workspace.create("towers", workspace.recipe({})) as draft:
        towers.save(model, draft)
    again = towers.load(workspace.open("towers"), ITEMS)
    assert again.config == model.config
    asked = world.asked(MONDAY)
    np.testing.assert_array_equal(again.user_vectors(asked), model.user_vectors(asked))


def parts(world, kind, **changes):
    """Untrained towers, their loss, and one batch."""
    setting = config(kind, **changes)
    task = towers.prepare(world, CONTENT, setting)
    net = towers.build(task.known, setting, 0)
    if kind == "attention":
        loss = in_batch_loss(net, task.known, setting, 0)
    else:
        loss, _ = sequence_loss(net, task.known, setting, 0)
    batch = next(shuffled(windows(task.columns), setting.batch_size, (0, 0)))
    return net, loss, batch


@pytest.mark.parametrize("kind", KINDS[1:])
def test_workers_share_a_batch_without_changing_its_gradients(world, kind):
    """What is taken for unknown included."""
    net, whole, batch = parts(world, kind, field_dropout=0.4)

    def gradients(crew):
        dealt = crew.deal(batch)
        net.zero_grad()
        whole(dealt, crew.own(dealt), (2, 5)).backward()
        return [p.grad.clone() for p in net.parameters()]

    shares = [gradients(Crew(rank, 3)) for rank in range(3)]
    for place, expected in enumerate(gradients(ALONE)):
        torch.testing.assert_close(sum(one[place] for one in shares), expected, atol=1e-5, rtol=0)


def queries(world, kind, **changes):
    """Vectors at every step of a batch, as training makes them, one row each."""
    setting = config(kind, **changes)
    task = towers.prepare(world, CONTENT, setting)
    net, made = towers.build(task.known, setting, 0), []

    def watched(*inputs):
        found = net(*inputs)
        made.append(found[0].detach())
        return found

    loss = (
        in_batch_loss(watched, task.known, setting, 0)
        if kind == "attention"
        else sequence_loss(watched, task.known, setting, 0)[0]
    )
    dealt = ALONE.deal(task.columns)
    loss(dealt, ALONE.own(dealt), (0, 0))
    return made[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_learns_hour_and_weekday_of_its_target_and_nothing_else(kind):
    """Of a history of three, the last item: another one, later by weeks, or at another hour."""
    at = MONDAY + np.array([9, 20, 30]) * HOUR
    profile = {"sex": np.array(["f"]), "age": np.array([30.0])}
    offsets, ones = np.array([0, 3]), np.ones(3, np.float32)
    rows = Histories(offsets, np.array([3, 8, 5], np.int32), ones, at, profile=profile)
    expected = queries(rows, kind, field_dropout=0.0)
    other = dataclasses.replace(rows, items=np.array([3, 8, 9], np.int32))
    torch.testing.assert_close(queries(other, kind, field_dropout=0.0), expected)
    weeks = dataclasses.replace(rows, at=at + np.array([0, 0, 21 * DAY]))
    torch.testing.assert_close(queries(weeks, kind, field_dropout=0.0), expected)
    hours = dataclasses.replace(rows, at=at + np.array([0, 0, 2 * HOUR]))
    apart = (queries(hours, kind, field_dropout=0.0) - expected).abs().amax(dim=1)
    assert (apart > 1e-6).sum() == 1, "only the step before it"


@pytest.mark.parametrize("kind", KINDS)
def test_training_reads_as_lists_do(world, kind):
    """What foretold an item is the vector of the history before it, asked at its time.

    Unless places are counted from the end of what is read.
    """
    rows = world.take(np.arange(5))
    setting = config(kind, field_dropout=0.0)
    task = towers.prepare(rows, CONTENT, setting)
    net = towers.build(task.known, setting, 0)
    items = towers.item_vectors(net, np.ones(NUM_ITEMS, bool))
    query, at = rows.query_of_item(), rows.at
    past = dataclasses.replace(rows.as_of(query, at), asked_at=at)
    found = towers.queries_of(net.user.eval(), items, past, setting)
    made = queries(rows, kind, field_dropout=0.0).numpy()
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(made, axis=0), atol=1e-5)


def test_hours_are_those_of_the_person():
    at = MONDAY + 23 * HOUR
    profile = {askers.OFFSET: np.array([0.0, 2.0, -5.5, np.nan])}
    people = dataclasses.replace(Histories.of([[]] * 4), profile=profile).asked(at)
    context = Coding({}, ("hour", "weekday")).columns(people)["context"][:, 0]
    assert context.tolist() == [[24, 1], [2, 2], [18, 1], [24, 1]]
    assert not Coding({}, ("hour",)).columns(Histories.of([[]]))["context"].any()


def test_a_field_of_the_moment_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"context must be among .*, got 'mood'"):
        TowersConfig(context=("mood",))
    with pytest.raises(ValueError, match="profile must name a field once"):
        TowersConfig(profile=("sex", "sex"))
