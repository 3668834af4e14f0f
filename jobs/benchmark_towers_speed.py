"""Training sequences a second, beside SASRecModel of rectools 0.19 (`--peer`), batch by batch.

Both train two SASRec blocks of dim 64 with 2 heads and dropout .2 on the last 201 items of each
user of ml-1m-sasrec, softmax over the whole catalogue, batches of 128, learning rate .001. After
as many batches as `--repeats` times ten, turn by turn, both train on to the end of `--epochs`
(default 5; 0 leaves it at that), and the last item of each user is asked. Ours is no lower where
the 95 % bootstrap interval, over users, of its NDCG@10 less the peer's reaches 0.

The peer's feed-forward layer is of the paper, as wide as the dim; ours is twice that.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avrec.arrays import Idx
from avrec.embed.pool import Content
from avrec.index import as_lister
from avrec.metrics import intervals, ndcg
from avrec.models import towers
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.models.training import ALONE, Batch, learn, shuffled, windows
from jobs import benchmark_towers_peer
from jobs.benchmark_towers_sequences import NAME, K, World, world

BATCHES, EPOCHS, SPEED_GOAL = 10, 5, 1.3
SETTINGS = TowersConfig(
    user="sasrec",
    dim=64,
    num_heads=2,
    history_length=200,
    batch_size=128,
    learning_rate=0.001,
    weight_decay=0.0,
    id_dropout=0.0,
    sequence=SequenceConfig(num_blocks=2, dropout=0.2, similarity="dot", max_windows=1),
)


class Peer(NamedTuple):
    """The peer's process, told and telling a line at a time."""

    process: "subprocess.Popen[str]"

    def batch(self) -> float:
        """Train one batch and return the seconds it took."""
        return float(self.ask("batch"))

    def ask(self, line: str) -> str:
        """Send a line and read the next one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return next(told for told in self.process.stdout if told[0] in "[0123456789")


@contextmanager
def peer(python: Path, given: World, epochs: int, threads: int) -> Iterator[Peer]:
    """Start the peer on a set."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "user.npy", given.past.query_of_item())
        np.save(Path(folder) / "item.npy", given.past.items)
        command = [str(python), benchmark_towers_peer.__file__, folder, str(epochs), str(threads)]
        pipe = subprocess.PIPE
        with subprocess.Popen(  # noqa: S603
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        ) as process:
            yield Peer(process)
            process.kill()


class Turns(NamedTuple):
    """Seconds of each batch on both sides."""

    ours: list[float]
    theirs: list[float]


def train(
    given: World, config: TowersConfig, other: Peer, count: int, *, whole: bool
) -> tuple[towers.Towers, Turns]:
    """Train our side, at least `count` batches, before each of which the other trains one."""
    content, turns = Content(given.items, {}), Turns([], [])
    columns, known, held = towers.prepare(given.past, content, config)
    net = towers.build(known, config, seed=0)
    loss, course = towers.objective(net, known, held, config, seed=0)(net, ALONE)

    def batches(epoch: int) -> Iterator[Batch]:
        begin = None
        for batch in shuffled(windows(columns), config.batch_size, (0, epoch)):
            if begin is not None and len(turns.ours) < count:
                turns.ours.append(time.perf_counter() - begin)
            if len(turns.theirs) < count:
                turns.theirs.append(other.batch())
            elif not whole:
                return
            begin = time.perf_counter()
            yield batch

    for _ in learn(net, loss, batches, config, course=course):
        pass
    return towers.finished(net, held.learned, content, config), turns


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare sequences a second, and the lists after some epochs."""
    folder, python = arguments.data / NAME, arguments.peer
    if python is None or not folder.is_dir():
        print(f"SKIPPED: speed needs --peer and {NAME} in {arguments.data}", flush=True)
        return []
    torch.set_num_threads(arguments.threads)
    given = world(folder)
    epochs = EPOCHS if arguments.epochs is None else arguments.epochs
    config, count = replace(SETTINGS, epochs=max(epochs, 1)), BATCHES * arguments.repeats
    with peer(python, given, max(epochs, 1), arguments.threads) as other:
        model, turns = train(given, config, other, count, whole=epochs > 0)
        lists = np.array(json.loads(other.ask("go")), np.int32) if epochs else None
    median = [config.batch_size / float(np.median(side)) for side in turns]
    best = [config.batch_size / min(side) for side in turns]
    figures = [
        _figure("sequences a second, median batch", median[0] / median[1], median[1], SPEED_GOAL),
        _figure("sequences a second, best batch", best[0] / best[1], best[1], SPEED_GOAL),
    ]
    if lists is None:
        return figures
    mine = as_lister(model).lists(given.past, K, exclude=given.past).idx
    return [*figures, _lists(mine, lists, given.asked, epochs)]


def _lists(ours: Idx, theirs: Idx, asked: Idx, epochs: int) -> dict[str, Any]:
    """Compare lists of ten, of which one item is asked, user by user."""
    one = np.ones(len(asked), np.int64)
    values = [ndcg(lists == asked[:, None], one, K) for lists in (ours, theirs)]
    [apart] = intervals((values[0] - values[1])[:, None], np.random.default_rng(0))
    means = [float(side.mean()) for side in values]
    line = _figure(f"NDCG@10 after {epochs} epochs", means[0] / means[1], means[1], 1.0)
    found = {"ours": means[0], "low": apart.low, "high": apart.high}
    return line | {n: round(x, 4) for n, x in found.items()} | {"met": bool(apart.high >= 0)}


def _figure(what: str, value: float, peer: float, goal: float) -> dict[str, Any]:
    line = {"figure": f"SASRec, dim 64, 2 blocks, length 200: {what}", "value": round(value, 3)}
    return line | {
        "unit": "of rectools'",
        "peer": round(peer, 4),
        "goal": goal,
        "met": value >= goal,
    }
