import os
from pathlib import Path

import numpy as np
import pytest
import ray
import ray.train
import safetensors.numpy
from scipy.sparse import csr_array

from avrec.distributed import als, train
from avrec.models.als import ALSConfig, fit
from avrec.store import Workspace
from avrec.workers import WorkersConfig

CONFIG = ALSConfig(dim=6, epochs=4)


@pytest.fixture(scope="module")
def weights() -> csr_array:
    rng = np.random.default_rng(5)
    return csr_array(np.where(rng.random((50, 31)) < 0.2, rng.random((50, 31)), 0))


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(str(tmp_path))


def runs(workspace):
    return sorted(path.name for path in Path(workspace.root.path, train.RUNS).iterdir())


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_number_of_workers_does_not_show(local_ray, weights, workspace, num_workers):
    found = als.fit_on_workers(
        weights,
        CONFIG,
        seed=7,
        workers=WorkersConfig(num_workers=num_workers, num_cpus=0.5),
        workspace=workspace,
        name="als-1",
    )
    expected = fit(weights, CONFIG, rng=np.random.default_rng(7))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def dies_once(settings):
    """Run the loop, but kill the second worker after its third epoch if it began at the first."""
    marker, report = Path(settings["marker"]), als.report

    def report_and_die(metrics, files=None):
        report(metrics, files)
        if ray.train.get_context().get_world_rank() == 1:
            with marker.open("a") as note:
                note.write(f"{metrics['epoch']} ")
            if marker.read_text() == "1 2 3 ":
                os._exit(1)

    als.report = report_and_die
    als.loop(settings)


def test_killed_worker_costs_nothing_but_time(local_ray, weights, workspace, tmp_path):
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["dies_once"]))
    marker = tmp_path / "epochs.txt"
    last = train.train(
        dies_once,
        {"weights": ray.put(weights), "config": CONFIG, "seed": 7, "marker": str(marker)},
        workers=WorkersConfig(num_cpus=0.5),
        workspace=workspace,
        name="als-1",
    )
    found = safetensors.numpy.load((last / als.CHECKPOINT).read())["items"]
    expected = fit(weights, CONFIG, rng=np.random.default_rng(7))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    epochs = [int(number) for number in marker.read_text().split()]
    assert epochs[:3] == [1, 2, 3]
    assert epochs[3] > 1, "the second start went on from a checkpoint"
    assert epochs[-1] == 4

    assert runs(workspace) == ["als-1"]
    train.forget(workspace, "als")
    train.forget(workspace, "als")
    assert runs(workspace) == []
