"""Train the two towers on Ray Train; the negatives of a batch are those of all workers."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import ray
from ray.train.torch import get_device

from avrec.distributed import learn
from avrec.distributed.learn import Run
from avrec.distributed.train import latest_files
from avrec.embed.pool import Content, Scale
from avrec.errors import InputError
from avrec.interactions import Histories
from avrec.models import towers
from avrec.models.askers import Coding
from avrec.models.more import NO_MORE, More
from avrec.models.towers import Held, Task
from avrec.models.towers_net import Facts, TowersConfig
from avrec.models.training import Files
from avrec.models.tuned import Tuning

PAST, PROFILE, CODING = "past.", "profile.", "coding."


def fit(
    histories: Histories,
    content: Content,
    config: TowersConfig,
    run: Run,
    more: More = NO_MORE,
) -> towers.Towers:
    """Train on histories of one row a user.

    Raises:
        InputError: no user has two items one after the other.
    """
    task = towers.prepare(histories, content, config, more)
    return towers.from_files(train(task, config, run), task, content, config)


def train(task: Task, config: TowersConfig, run: Run) -> Files:
    """Train on what is prepared and return what the last epoch left; raises as `fit`."""
    if not len(task.columns["weight"]):
        raise InputError("no user has two interactions one after the other to train towers on")
    settings = {"config": asdict(config)}
    return learn.fit(loop, task.columns, _pack(task.known, task.held), settings, run)


def loop(settings: Mapping[str, Any]) -> None:
    """Train as one worker."""
    config, seed = towers.config_of(settings["config"]), settings["seed"]
    known, held = _unpack(ray.get(settings["facts"]), config)
    crew = learn.join_crew()
    net = towers.build(known, config, seed, crew)
    if not latest_files():
        towers.begin(net.to(get_device()), known, config, seed)
    objective = towers.objective(net, known, held, config, seed)
    learn.learn_on_worker(net, objective, crew, config, settings)


def _pack(known: Facts, held: Held) -> dict[str, np.ndarray]:
    content = {f"content.{n:03}": np.ascontiguousarray(c) for n, c in enumerate(known.content)}
    pieces = {f"pieces.{n:03}": np.ascontiguousarray(c) for n, c in enumerate(known.pieces)}
    past = {f"{PAST}{name}": values for name, values in _columns(held.histories).items()}
    judged = {"targets": held.targets, "learned": held.learned}
    told = {"log_q": known.log_q, "positives": known.positives}
    if known.coding is not None:
        told |= {f"{CODING}{name}": values for name, values in known.coding.values.items()}
    return {**told, **content, **pieces, **_tuning(known.tuning), **past, **judged}


def _columns(past: Histories) -> dict[str, np.ndarray]:
    columns = {one.name: getattr(past, one.name) for one in fields(Histories)}
    profile = columns.pop("profile") or {}
    columns |= {f"{PROFILE}{name}": known for name, known in profile.items()}
    return {name: values for name, values in columns.items() if values is not None}


def _histories(columns: Mapping[str, np.ndarray]) -> Histories:
    profile = {k.removeprefix(PROFILE): v for k, v in columns.items() if k.startswith(PROFILE)}
    others = {k: v for k, v in columns.items() if not k.startswith(PROFILE)}
    return Histories(**others, profile=profile or None)


def _tuning(tuning: Tuning | None) -> dict[str, np.ndarray]:
    if tuning is None:
        return {}
    return {
        "tuning.place": np.array(tuning.place),
        "tuning.values": tuning.values,
        "tuning.lengths": tuning.lengths,
        "tuning.scale": np.stack(tuning.scale),
    }


def _unpack(arrays: Mapping[str, np.ndarray], config: TowersConfig) -> tuple[Facts, Held]:
    content, pieces = (
        tuple(arrays[name] for name in sorted(arrays) if name.startswith(prefix))
        for prefix in ("content.", "pieces.")
    )
    past = {k.removeprefix(PAST): v for k, v in arrays.items() if k.startswith(PAST)}
    values = {name: arrays[f"{CODING}{name}"] for name in sorted(config.profile)}
    coding = Coding(values, tuple(sorted(config.context)))
    known = Facts(
        content,
        arrays["log_q"],
        arrays["positives"],
        pieces,
        _tuned(arrays, config),
        coding if coding.sizes() else None,
    )
    return known, Held(_histories(past), arrays["targets"], arrays["learned"])


def _tuned(arrays: Mapping[str, np.ndarray], config: TowersConfig) -> Tuning | None:
    if "tuning.place" not in arrays:
        return None
    place, values, lengths, scale = (
        arrays[f"tuning.{name}"] for name in ("place", "values", "lengths", "scale")
    )
    return Tuning(config.lora, int(place), values, lengths, Scale(*scale))
