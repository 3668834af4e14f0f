"""Train the two towers on Ray Train; the negatives of a batch are those of all workers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import ray

from avrec.distributed import learn
from avrec.distributed.learn import Run
from avrec.embed.pool import Content
from avrec.errors import InputError
from avrec.interactions import Histories
from avrec.models import towers
from avrec.models.towers_net import Facts, TowersConfig, in_batch_loss


def fit(histories: Histories, content: Content, config: TowersConfig, run: Run) -> towers.Towers:
    """Train on histories of one row a user.

    Raises:
        InputError: no user has two items one after the other.
    """
    columns = towers.examples(histories, config)
    if not len(columns["item"]):
        raise InputError("no user has two interactions one after the other to train towers on")
    known = towers.facts(histories, columns, content)
    files = learn.fit(loop, columns, _pack(known), {"config": asdict(config)}, run)
    return towers.from_files(files, histories, content, config)


def loop(settings: Mapping[str, Any]) -> None:
    """Train as one worker."""
    config, seed = TowersConfig(**settings["config"]), settings["seed"]
    known = _unpack(ray.get(settings["facts"]))
    net = towers.build(known, config, seed)
    learn.learn_on_worker(
        net, lambda wrapped, crew: in_batch_loss(wrapped, known, config, seed, crew), config, seed
    )


def _pack(known: Facts) -> dict[str, np.ndarray]:
    content = {f"content.{n:03}": np.ascontiguousarray(c) for n, c in enumerate(known.content)}
    return {"log_q": known.log_q, "positives": known.positives, **content}


def _unpack(arrays: Mapping[str, np.ndarray]) -> Facts:
    content = tuple(arrays[name] for name in sorted(arrays) if name.startswith("content."))
    return Facts(content, arrays["log_q"], arrays["positives"])
