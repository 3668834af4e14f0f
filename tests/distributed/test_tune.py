import json
from pathlib import Path

import numpy as np
import pytest

from avrec.distributed import tune
from avrec.errors import ConfigError, InputError
from avrec.models.als import ALSConfig
from avrec.store import Workspace
from avrec.tuning import TuneConfig, best, judge, learn, table, validation
from tests.test_tuning import ITEMS, tastes

BASE = ALSConfig(dim=4, epochs=4)
SPACE = {"als.reg": [0.01, 1e6], "als.unobserved_weight": [0.1, 0.5]}
"""A reg of a million leaves nothing of the factors."""


@pytest.fixture
def workspace(root_uri) -> Workspace:
    return Workspace(root_uri)


@pytest.fixture(scope="module")
def task():
    return validation(tastes(), ITEMS, TuneConfig(validation_share=0.2), seed=0)


def search(workspace, task, name="one", **changes):
    changes = {"space": SPACE, "search": "grid", "validation_share": 0.2, "k": 4} | changes
    config = TuneConfig(**changes, num_cpus=0.5)
    return tune.search(task, BASE, config, seed=0, workspace=workspace, name=name)


def test_a_grid_finds_what_trying_by_hand_finds(local_ray, workspace, task):
    ended = search(workspace, task, grace_epochs=4)
    assert len(ended) == 4
    config = TuneConfig(k=4, validation_share=0.2)
    for trial in ended:
        seen = []
        section = tune.applied(BASE, trial.setting)
        learn(task, section, lambda m, seen=seen: seen.append(judge(m, task.case, config)), seed=0)
        assert (trial.rounds, trial.stopped_early, trial.error) == (4, False, None)
        assert trial.value == pytest.approx(seen[-1])
    assert best(table(ended, "ndcg", 4))["als.reg"] == 0.01
    tune.forget(workspace)
    assert tune.read(workspace.root / tune.RUNS / "one") == {}


def test_what_ended_is_not_tried_again(local_ray, tmp_path, task):
    workspace = Workspace(str(tmp_path))
    first = search(workspace, task, space={"als.reg": [0.01, 0.1]})
    done = Path(workspace.root.path, tune.RUNS, "one", "done")
    marked = done / f"{first[0].key}.json"
    marked.write_text(json.dumps(first[0]._asdict() | {"value": 0.123}))
    again = search(workspace, task, space={"als.reg": [0.01, 0.1, 0.3]})
    values = {trial.key: trial.value for trial in again}
    assert len(values) == 3
    assert values[first[0].key] == 0.123
    assert values[first[1].key] == first[1].value


def test_a_search_killed_half_way_goes_on(local_ray, tmp_path, task, monkeypatch):
    workspace, write, ended = Workspace(str(tmp_path)), tune._Note._write, []

    def killed_at_the_third(self, trial, error):
        if len(ended) == 2:
            raise KeyboardInterrupt
        ended.append(trial.trial_id)
        write(self, trial, error)

    monkeypatch.setattr(tune._Note, "_write", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        search(workspace, task, num_concurrent=1)
    assert len(tune.read(workspace.root / tune.RUNS / "one")) == 2
    monkeypatch.setattr(tune._Note, "_write", write)
    assert len(search(workspace, task, num_concurrent=1)) == 4


def test_the_hopeless_are_stopped_early(local_ray, tmp_path, task):
    ended = search(
        Workspace(str(tmp_path)),
        task,
        space={"als.reg": [0.01, 0.02, 1e6, 1e7]},
        grace_epochs=1,
        reduction_factor=2.0,
        num_concurrent=1,
    )
    stopped = {trial.setting["als.reg"] for trial in ended if trial.stopped_early}
    assert stopped & {1e6, 1e7}
    assert not stopped & {0.01}


def test_what_failed_is_said_and_tried_again(local_ray, tmp_path, task):
    workspace, wrong = Workspace(str(tmp_path)), task.weights.copy()
    wrong.data = np.full_like(wrong.data, np.nan)
    with pytest.raises(
        InputError, match=r"every trial failed; one said: (ValueError: .*weight|no reason)"
    ):
        search(workspace, task._replace(weights=wrong), space={"als.reg": [0.1]})
    assert [trial.error for trial in search(workspace, task, space={"als.reg": [0.1]})] == [None]


def test_tpe_learns_and_goes_on(local_ray, tmp_path, task):
    pytest.importorskip("optuna")
    space = {"als.reg": {"low": 1e-3, "high": 1e6, "log": True}, "als.dim": [2, 4]}
    workspace = Workspace(str(tmp_path))
    few = search(workspace, task, space=space, search="tpe", num_trials=3)
    more = search(workspace, task, space=space, search="tpe", num_trials=6)
    assert {trial.key for trial in few} < {trial.key for trial in more}
    assert len(more) == 6
    values = [trial.value for trial in more if trial.value is not None]
    assert len(values) == 6
    assert np.isfinite(values).all()


def test_a_setting_that_does_not_fit_is_said_at_once(tmp_path, task):
    with pytest.raises(ConfigError, match=r"unknown key 'als\.regs'"):
        search(Workspace(str(tmp_path)), task, space={"als.regs": [1.0]})
    with pytest.raises(ConfigError, match="reg must be above 0"):
        search(Workspace(str(tmp_path)), task, space={"als.reg": [1.0, 0.0]})
