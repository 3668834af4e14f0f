"""Trials on Ray Tune, stopped early by ASHA where others do better.

    root/.tune/<name>/done/<trial>.json   each trial that ended, as soon as it did

A search that was cut off goes on: what has ended well is read, not run again; a trial that was
under way, or failed, starts anew, and ASHA's rungs with it. Call `forget` when the artifact is
committed.
"""

import json
import logging
import os
from typing import Any

import numpy as np
from pyarrow.fs import FileSelector
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from avrec import log
from avrec.errors import ConfigError, InputError
from avrec.factors import Retriever
from avrec.index import Lister
from avrec.store import Place, Workspace
from avrec.tuning import (
    Plain,
    Range,
    Section,
    Setting,
    Space,
    Trial,
    TuneConfig,
    Validation,
    applied,
    judge,
    key_of,
    learn,
    most_rounds,
    parse_space,
    rounds,
    settings,
)

logger = logging.getLogger(__name__)
RUNS = ".tune"
NO_REASON = "no reason that reached the driver; see Ray's log of the worker"
SETTINGS = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}


def search(
    task: Validation,
    base: Section,
    config: TuneConfig,
    *,
    seed: int,
    workspace: Workspace,
    name: str,
) -> list[Trial]:
    """Try settings, and return every trial that ended, those of an earlier run of `name` too.

    Raises:
        ConfigError: a setting does not fit the section, or the search needs what is not there.
        InputError: every trial failed.
    """
    for noisy in ("ray.tune", "optuna"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    space, home = parse_space(config.space), workspace.root / RUNS / name
    listed = settings(space, config.search, config.num_trials, seed)
    for setting in listed:
        applied(base, setting)
    done = {key: trial for key, trial in read(home).items() if trial.value is not None}
    if config.search == "tpe":
        left = config.num_trials - len(done)
        plan = {"search_alg": _tpe(space, list(done.values()), seed), "num_samples": left}
        domain = {}
    else:
        todo = [one for one in listed if key_of(one) not in done]
        left, plan = len(todo), {}
        domain = {"setting": tune.grid_search([dict(one) for one in todo])}
    logger.info("tune %s", log.pairs(trials=left, done=len(done), users=len(task.case.users)))
    if left > 0:
        scheduler = _asha(config, most_rounds(base, space))
        plan |= {"scheduler": scheduler, "max_concurrent_trials": config.num_concurrent}
        _run(_trainable(task, base, config, seed), domain, plan, home, _Note(home, base))
    ended = list(read(home).values())
    if all(trial.value is None for trial in ended):
        raise InputError(f"every trial failed; one said: {ended[0].error}")
    return ended


def forget(workspace: Workspace) -> None:
    """Remove what searches left behind; nothing is no fault."""
    workspace.remove(RUNS)


def read(home: Place) -> dict[str, Trial]:
    """Read the trials of a search that have ended, by key."""
    folder = home / "done"
    selector = FileSelector(folder.path, allow_not_found=True)
    names = sorted(one.base_name for one in folder.filesystem.get_file_info(selector))
    trials = [Trial(**json.loads((folder / one).read())) for one in names if one.endswith(".json")]
    return {trial.key: trial for trial in trials}


class _Note(Callback):
    """Writes each trial down when it ends, well or not."""

    def __init__(self, home: Place, base: Section) -> None:
        self._home, self._base = home, base

    def on_trial_complete(self, **info: Any) -> None:
        """Write the last value."""
        self._write(info["trial"], None)

    def on_trial_error(self, **info: Any) -> None:
        """Write the fault."""
        error = info["trial"].get_error()
        said = str(error).strip().splitlines() if error else []
        self._write(info["trial"], said[-1] if said else NO_REASON)

    def _write(self, trial: RayTrial, error: str | None) -> None:
        setting, last = trial.config["setting"], trial.last_result or {}
        count = int(last.get("rounds", 0))
        ended = Trial(
            setting=setting,
            value=None if error else last.get("value"),
            rounds=count,
            stopped_early=error is None and count < rounds(applied(self._base, setting)),
            seconds=float(last.get("time_total_s", 0)),
            error=error,
        )
        place = self._home / "done" / f"{ended.key}.json"
        place.filesystem.create_dir((self._home / "done").path, recursive=True)
        place.write(json.dumps(ended._asdict()).encode())
        logger.info(
            "trial %s", log.pairs(**setting, value=ended.value, rounds=count, error=error or "")
        )


def _trainable(task: Validation, base: Section, config: TuneConfig, seed: int) -> Any:
    """Wrap a trial for Ray Tune; the data go into the object store once."""

    def run(chosen: dict[str, Any], task: Validation) -> None:
        count = 0

        def report(model: Retriever | Lister) -> None:
            nonlocal count
            count += 1
            tune.report({"value": judge(model, task.case, config), "rounds": count})

        section, threads = applied(base, chosen["setting"]), max(1, int(config.num_cpus))
        learn(task, section, report, seed=seed, threads=threads)

    return tune.with_resources(tune.with_parameters(run, task=task), {"cpu": config.num_cpus})


def _run(
    trainable: Any, domain: dict[str, Any], plan: dict[str, Any], home: Place, note: _Note
) -> None:
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    tune.Tuner(
        trainable,
        param_space=domain,
        tune_config=tune.TuneConfig(
            metric="value",
            mode="max",
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
            **plan,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=home.path,
            storage_filesystem=home.filesystem,
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[note],
            verbose=0,
        ),
    ).fit()


def _asha(config: TuneConfig, most_rounds: int) -> ASHAScheduler:
    return ASHAScheduler(
        max_t=most_rounds,
        grace_period=min(config.grace_epochs, most_rounds),
        reduction_factor=config.reduction_factor,
    )


def _tpe(space: Space, done: list[Trial], seed: int) -> OptunaSearch:
    """Make the search, with what is known already.

    Raises:
        ConfigError: optuna is not installed.
    """
    try:
        from optuna.distributions import (  # noqa: PLC0415
            BaseDistribution,
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )
    except ImportError as error:
        raise ConfigError('tune.search = "tpe" needs optuna; install avrec[tune]') from error

    def distribution(entry: tuple[Plain, ...] | Range) -> BaseDistribution:
        if not isinstance(entry, Range):
            return CategoricalDistribution(entry)
        if entry.whole:
            return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
        return FloatDistribution(entry.low, entry.high, log=entry.log)

    fresh = np.random.default_rng([seed, len(done)]).integers(2**31)
    return OptunaSearch(
        space={f"setting/{key}": distribution(entry) for key, entry in space.items()},
        metric="value",
        mode="max",
        seed=int(fresh),
        points_to_evaluate=[_flat(trial.setting) for trial in done] or None,
        evaluated_rewards=[trial.value for trial in done] or None,
    )


def _flat(setting: Setting) -> dict[str, Any]:
    return {f"setting/{key}": value for key, value in setting.items()}
