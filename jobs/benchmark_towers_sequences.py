"""How well a causal user tower foretells the last item of MovieLens 1M, beside other models.

The set is that of SASRec (Kang and McAuley, ICDM 2018): `ml-1m.txt.gz`, user and item in time
order. The last item of each user is asked in the test, among all items less the history. The last
but one of 1,024 users is held back and chooses setting and epoch; all else is trained on, the last
but one of the other users included. Whether the published runs did so was not looked up in their
code.

A run leaves `training.safetensors` and `curve.jsonl` (a line an epoch) in a folder of `--runs`
named by its seed, and goes on from there when started again; what is there already is reported.
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avrec.arrays import Idx
from avrec.embed.pool import Content
from avrec.factors import Factors, Retriever
from avrec.index import Lister, as_lister
from avrec.interactions import Histories
from avrec.models import towers
from avrec.models.popularity import Popularity
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.models.training import ALONE, TRAINING, Batch, Files, curve, learn, shuffled, windows
from avrec.vocab import Vocabulary
from jobs import benchmark_sets as sets
from jobs.benchmark_als_quality import METHODS, choose, listed

NAME = "ml-1m-sasrec"
K = 10
GOALS = {"HR@10": 0.315, "NDCG@10": 0.182}
PUBLISHED = {"HR@10": 0.3294, "NDCG@10": 0.1893}
"""HSTU-large, which prepares the set a little differently."""
CONFIG = TowersConfig(
    user="ligr",
    dim=64,
    num_heads=2,
    history_length=200,
    epochs=100,
    batch_size=128,
    learning_rate=0.002,
    weight_decay=0.0,
    id_dropout=0.0,
    validation_users=1024,
    sequence=SequenceConfig(dropout=0.2, similarity="dot", max_windows=4, average=0.995),
)
BASELINES = ("avrec als", "item bm25")
SETTINGS_OF_BASELINES = 6
"""Drawn for each, of which the validation chooses; `jobs.benchmark_als_quality` searches longer."""


class World(NamedTuple):
    """All but the last item of each user, and that item."""

    items: Vocabulary
    past: Histories
    asked: Idx


def world(folder: Path) -> World:
    """Read the set."""
    with gzip.open(folder / "ml-1m.txt.gz", "rt") as lines:
        user, item = np.loadtxt(lines, np.int64).T - 1
    order = np.argsort(user, kind="stable")
    rows = np.split(item[order].astype(np.int32), np.cumsum(np.bincount(user))[:-1])
    ids = Vocabulary.of([f"i{row:07}" for row in range(int(item.max()) + 1)])
    return World(ids, Histories.of([row[:-1] for row in rows]), np.array([r[-1] for r in rows]))


def quality(model: Retriever | Lister, given: World) -> dict[str, float]:
    """HR@10 and NDCG@10, the mean over users."""
    return of_lists(as_lister(model).lists(given.past, K, exclude=given.past).idx, given.asked)


def of_lists(lists: Idx, asked: Idx) -> dict[str, float]:
    """HR@10 and NDCG@10 of lists of ten, of which one item is asked."""
    hits = lists == asked[:, None]
    gains = hits / np.log2(np.arange(2, K + 2))
    return {"HR@10": float(hits.any(axis=1).mean()), "NDCG@10": float(gains.sum(axis=1).mean())}


def trained(given: World, config: TowersConfig, seed: int, folder: Path) -> towers.Towers:
    """Train on from what `folder` holds, and return the best epoch by validation."""
    content = Content(given.items, {})
    task = towers.prepare(given.past, content, config)
    net = towers.build(task.known, config, seed)
    loss, course = towers.objective(net, task.known, task.held, config, seed)(net, ALONE)
    course = replace(course, resume=left(folder))

    def batches(epoch: int) -> Iterator[Batch]:
        return shuffled(windows(task.columns), config.batch_size, (seed, epoch))

    for step in learn(net, loss, batches, config, course=course):
        leave(folder, step.files())
    return towers.finished(net, task.held.learned, content, config)


def left(folder: Path) -> Files | None:
    """What an earlier start left."""
    file = folder / TRAINING
    return {TRAINING: file.read_bytes()} if file.exists() else None


def leave(folder: Path, files: Files) -> None:
    """Put the files of an epoch in the place of those before."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "partial").write_bytes(files[TRAINING])
    (folder / "partial").replace(folder / TRAINING)
    lines = [json.dumps({"epoch": n, **one}) for n, one in enumerate(curve(files), 1)]
    (folder / "curve.jsonl").write_text("\n".join(lines) + "\n")
    print(lines[-1], flush=True)


def baselines(folder: Path) -> dict[str, dict[str, float]]:
    """Popularity, ALS and neighbours, their settings chosen on the validation item."""
    asked = sets.last_items(folder)
    case = asked.test.case
    counts = 1 + case.counts[:, None].astype(np.float32)
    popular = Popularity("popularity", Factors(asked.test.items, counts))
    lists = {"popularity": as_lister(popular).lists(case.histories, K, case.histories).idx}
    for method in METHODS:
        if method.name in BASELINES:
            setting = choose(method, asked, SETTINGS_OF_BASELINES)
            lists[method.name] = listed(method, asked.test, setting, 0)
    last = case.relevant.items
    return {name: of_lists(found[:, :K], last) for name, found in lists.items()}


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train or take up each seed, and report the mean of all beside the other models."""
    folder = arguments.data / NAME
    if not folder.is_dir():
        print(f"SKIPPED: there is no {NAME} in {arguments.data}", flush=True)
        return []
    torch.set_num_threads(arguments.threads)
    given = world(folder)
    config = replace(CONFIG, epochs=arguments.epochs or CONFIG.epochs)
    found = []
    for seed in arguments.seeds:
        model = trained(given, config, seed, arguments.runs / f"{NAME}-{seed}")
        found.append(quality(model, given))
        print(f"{NAME} seed {seed}: {_words(found[-1])}", flush=True)
    for name, values in baselines(folder).items():
        print(f"{NAME} {name}: {_words(values)}", flush=True)
    return [
        {
            "figure": f"{NAME}, {name}, last item of all items, mean of {len(found)} seeds",
            "value": round(value := float(np.mean([one[name] for one in found])), 4),
            "unit": "",
            "peer": PUBLISHED[name],
            "goal": goal,
            "met": value >= goal,
        }
        for name, goal in GOALS.items()
    ]


def _words(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())
