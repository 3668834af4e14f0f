import dataclasses
import os

import numpy as np
import pytest

from avrec.distributed import towers as spread
from avrec.distributed.learn import Run
from avrec.errors import InputError
from avrec.interactions import Histories
from avrec.models import towers
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.store import Workspace
from avrec.workers import WorkersConfig
from tests.models.worlds import tastes

CONFIG = TowersConfig(dim=16, num_heads=2, history_length=8, epochs=3, batch_size=100)


@pytest.fixture(scope="module")
def world():
    return tastes()


def train(world, folder, run, num_workers, config=CONFIG):
    return spread.fit(
        world.histories,
        world.content,
        config,
        Run(
            Workspace(str(folder)),
            run,
            WorkersConfig(num_workers=num_workers, num_cpus=0.5),
            seed=3,
        ),
    )


def test_two_workers_end_where_one_process_does_although_one_is_killed(
    local_ray, world, tmp_path, monkeypatch
):
    died = tmp_path / "died"
    honest = spread.loop

    def dies_once(settings):
        from avrec.distributed import learn  # noqa: PLC0415

        report = learn.report

        def report_and_die(metrics, files=None):
            report(metrics, files)
            if metrics["epoch"] == 1 and files is None and not died.exists():
                died.touch()
                os._exit(1)

        learn.report = report_and_die
        honest(settings)

    monkeypatch.setattr(spread, "loop", dies_once)
    alone = towers.fit(world.histories, world.content, CONFIG, seed=3)
    pair = train(world, tmp_path, "towers-killed", num_workers=2)
    assert died.exists()
    np.testing.assert_allclose(pair.items.vectors, alone.items.vectors, atol=2e-5)
    np.testing.assert_allclose(
        pair.user_vectors(world.histories), alone.user_vectors(world.histories), atol=2e-5
    )

    again = train(world, tmp_path, "towers-killed", num_workers=1)  # finished: nothing to train
    np.testing.assert_array_equal(again.items.vectors, pair.items.vectors)


def test_a_sequence_tower_is_the_same_by_two_workers_as_in_one_process(local_ray, world, tmp_path):
    """Dropout, negatives, their frequencies, validation and averages included."""
    config = dataclasses.replace(
        CONFIG,
        batch_size=50,
        user="ligr",
        validation_users=31,
        sequence=SequenceConfig(
            num_blocks=1, loss="sampled", num_negatives=20, frequencies="stream", average=0.9
        ),
    )
    alone = towers.fit(world.histories, world.content, config, seed=3)
    pair = train(world, tmp_path, "towers-sequence", num_workers=2, config=config)
    np.testing.assert_allclose(pair.items.vectors, alone.items.vectors, atol=1e-3)
    np.testing.assert_allclose(
        pair.user_vectors(world.histories), alone.user_vectors(world.histories), atol=1e-3
    )


@pytest.mark.parametrize("user", ["attention", "hstu"])
def test_who_asks_is_learned_by_two_workers_as_in_one_process(local_ray, world, tmp_path, user):
    rng, count = np.random.default_rng(0), len(world.histories)
    profile = {"sex": rng.choice(["", "f", "m"], count), "age": 20 + rng.random(count)}
    people = dataclasses.replace(world.histories, profile=profile)
    config = dataclasses.replace(
        CONFIG,
        user=user,
        epochs=2,
        batch_size=50,
        validation_users=31,
        profile=("age", "sex"),
        context=("hour",),
    )
    alone = towers.fit(people, world.content, config, seed=3)
    pair = train(world._replace(histories=people), tmp_path, user, num_workers=2, config=config)
    asked = people.asked(1)
    np.testing.assert_allclose(pair.user_vectors(asked), alone.user_vectors(asked), atol=1e-3)
    scores = [[epoch["score"] for epoch in one.curve] for one in (pair, alone)]
    np.testing.assert_allclose(*scores, atol=1e-3)
    watched = list((tmp_path / ".train" / user).glob("events.out.tfevents.*"))
    assert len(watched) == config.epochs, "one worker writes the curve"


SHARDED = {
    "attention": dataclasses.replace(CONFIG, max_table_mb=0, validation_users=20),
    "sequence": dataclasses.replace(
        CONFIG,
        batch_size=50,
        user="sasrec",
        validation_users=31,
        max_table_mb=0,
        sequence=SequenceConfig(
            num_blocks=1, loss="sampled", num_negatives=20, frequencies="stream", average=0.9
        ),
    ),
}


@pytest.mark.parametrize(("kind", "num_workers"), [("attention", 2), ("sequence", 3)])
def test_a_sharded_table_is_as_one_that_every_worker_holds(
    local_ray, world, tmp_path, kind, num_workers
):
    whole = dataclasses.replace(SHARDED[kind], max_table_mb=4096)
    alone = towers.fit(world.histories, world.content, whole, seed=3)
    crew = train(world, tmp_path, "towers-sharded", num_workers, config=SHARDED[kind])
    np.testing.assert_allclose(crew.items.vectors, alone.items.vectors, atol=2e-4)
    np.testing.assert_allclose(
        crew.user_vectors(world.histories), alone.user_vectors(world.histories), atol=2e-4
    )
    losses = [[epoch["loss"] for epoch in one.curve] for one in (crew, alone)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_shards_are_saved_by_their_owners_and_taken_up_by_any_number(
    local_ray, world, tmp_path, monkeypatch
):
    """Three workers of which one is killed; then two of the same run do the last epochs."""
    config, died = SHARDED["sequence"], tmp_path / "died"
    honest = spread.loop

    def dies_once(settings):
        from avrec.distributed import learn  # noqa: PLC0415

        report = learn.report

        def report_and_die(metrics, files=None):
            report(metrics, files)
            if metrics["epoch"] == 1 and "training.safetensors" not in files and not died.exists():
                died.touch()
                os._exit(1)

        learn.report = report_and_die
        honest(settings)

    monkeypatch.setattr(spread, "loop", dies_once)
    task = towers.prepare(world.histories, world.content, config)
    run = Run(Workspace(str(tmp_path)), "towers-shards", WorkersConfig(num_workers=3, num_cpus=0.5))
    files = spread.train(task, config, run)
    assert died.exists()
    rows = [name for name in files if name.startswith("rows-")]
    assert rows == [f"rows-{n:012}-{n + 16:012}.safetensors" for n in (0, 16, 32)]

    longer = dataclasses.replace(config, epochs=config.epochs + 2)
    more = dataclasses.replace(run, workers=WorkersConfig(num_workers=2, num_cpus=0.5))
    crew = towers.from_files(spread.train(task, longer, more), task, world.content, longer)
    whole = dataclasses.replace(longer, max_table_mb=4096)
    alone = towers.fit(world.histories, world.content, whole, seed=0)
    assert len(crew.curve) == 5
    np.testing.assert_allclose(crew.items.vectors, alone.items.vectors, atol=5e-4)


def test_nothing_to_train_on_is_said(world, tmp_path):
    lonely = world._replace(histories=Histories.of([np.array([1]), np.array([2])]))
    with pytest.raises(InputError, match="no user has two interactions"):
        train(lonely, tmp_path, "towers-none", num_workers=1)
