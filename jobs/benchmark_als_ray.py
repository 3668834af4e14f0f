"""Time ALS as it is used: on Ray Train, as the data grow, in memory, and folding one person in.

    python -m jobs.benchmark_als_ray --parts ray memory scaling foldin

On the matrix of `jobs.benchmark_als`, and its objective. Each figure is one line of JSON.

* ray: seconds of an epoch on two workers of one thread, against this process with two threads;
  runs take turns. Start-up is told apart, and checkpoints are written as in any run.
* memory: growth of the peak resident memory in a fit, each side in a process of its own that has
  loaded its libraries and the matrix before.
* scaling: the same for 1, 2, 4 and 8 times the entries, users and items growing alike.
* foldin: milliseconds from one user's history to a vector, one at a time.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from avrec.arrays import Array
from avrec.distributed.als import Fitted, fit_on_workers
from avrec.distributed.als_shards import shards
from avrec.distributed.learn import Run
from avrec.distributed.session import connect
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models.als import ALS, ALSConfig, Epoch, fit
from avrec.schema import INTERACTIONS
from avrec.splits import SplitConfig
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from avrec.workers import WorkersConfig
from jobs.benchmark_als import planted

OBJECTIVE = ALSConfig(
    objective="confidence", alpha=10.0, reg=5.0, reg_exponent=0.0, unobserved_weight=1.0
)
FOLDED, GROWN = 500, (1, 2, 4, 8)
GOALS = {"ray": 0.85, "memory": 1.2, "scaling": 1.2, "foldin": 5.0}


def figure(name: str, value: float, unit: str, peer: float | None = None, goal: str = "") -> None:
    """Print one figure; speeds are to be at least their goal, all else at most."""
    wanted = GOALS.get(goal)
    met = None if wanted is None else bool(value >= wanted if goal == "ray" else value <= wanted)
    line = {"figure": name, "value": round(value, 4), "unit": unit, "peer": peer}
    print(json.dumps({**line, "goal": wanted, "met": met}), flush=True)


def matrix(num_users: int, num_items: int) -> csr_array:
    """Draw the planted matrix, every weight 1."""
    drawn = planted(num_users, num_items).by_user
    ones = np.ones(drawn.nnz, np.float32)
    return csr_array((ones, drawn.indices, drawn.indptr), shape=drawn.shape)


def epochs_of(weights: csr_array, config: ALSConfig, threads: int) -> Array:
    """Fit in this process; gives the seconds of each epoch."""
    ended = [time.perf_counter()]

    def note(_: Epoch) -> None:
        ended.append(time.perf_counter())

    fit(weights, config, rng=np.random.default_rng(0), on_epoch=note, threads=threads)
    return np.diff(ended)


def write_interactions(workspace: Workspace, weights: csr_array) -> Vocabulary:
    """Write a matrix as INTERACTIONS in row groups of a quarter million, and name its items."""
    row, column = weights.tocoo().coords
    users = pa.array([f"u{n:07}" for n in range(weights.shape[0])])
    items = pa.array([f"i{n:06}" for n in range(weights.shape[1])])
    with workspace.create("interactions", workspace.recipe({})) as draft:
        draft.set_schema(INTERACTIONS)
        for part, first in enumerate(range(0, weights.nnz, 1 << 18)):
            some = slice(first, first + (1 << 18))
            columns = {
                "user_id": users.take(pa.array(row[some])),
                "item_id": items.take(pa.array(column[some])),
                "weight": weights.data[some],
                "at": pa.array(np.arange(len(row[some])), pa.timestamp("us", tz="UTC")),
            }
            draft.add_table(f"part-{part:05d}.parquet", pa.table(columns), INTERACTIONS)
    return Vocabulary.of(items)


def on_ray(given: argparse.Namespace) -> None:
    """Take turns between two workers of one thread, and one process with two."""
    weights = matrix(given.users, given.items)
    config = replace(OBJECTIVE, dim=given.dim, epochs=given.epochs)
    connect()
    logging.getLogger("avrec").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        found = shards(
            workspace,
            write_interactions(workspace, weights),
            SplitConfig(rank_share=0, test_share=0),
        )
        ours, theirs, starts, fitted = [], [], [], None
        epochs_of(weights[:100], config, 2)  # the kernels are made
        for turn in range(given.rounds):
            begun = time.perf_counter()
            run = Run(workspace, f"als-{turn}", WorkersConfig(num_workers=2))
            fitted = fit_on_workers(found, config, run)
            starts.append(time.perf_counter() - begun - fitted.seconds[1:].sum())
            ours.append(fitted.seconds[1:])
            theirs.append(epochs_of(weights, config, 2)[1:])
    tell_ray(given.dim, np.concatenate(ours), np.concatenate(theirs), starts, fitted)
    same = fit(weights, config, rng=np.random.default_rng(0), threads=2)
    assert fitted is not None
    apart = float(np.abs(fitted.items - same).max() / np.abs(same).max())
    figure(f"als on ray, dim {given.dim}, factors apart, relative", apart, "")


def tell_ray(
    dim: int, ours: Array, theirs: Array, starts: list[float], last: Fitted | None
) -> None:
    """Print what the turns gave."""
    name = f"als on ray 2 x 1, dim {dim}"
    assert last is not None
    figure(f"{name}, epoch, best", ours.min(), "s", round(theirs.min(), 4))
    figure(f"{name}, speed, best", theirs.min() / ours.min(), "times", 1.0, "ray")
    figure(f"{name}, epoch, median", np.median(ours), "s", round(np.median(theirs), 4))
    figure(f"{name}, speed, median", np.median(theirs) / np.median(ours), "times", 1.0, "ray")
    figure(f"{name}, start and end, best", min(starts), "s")
    figure(f"{name}, of this reading shards, last", last.seconds[0], "s")


def peak_of_fit(side: str, file: Path, dim: int, epochs: int) -> dict[str, float]:
    """Fit in a process of its own; gives `before` and `peak`, MiB, and `seconds` an epoch."""
    command = [sys.executable, "-m", __spec__.name, "--child", side, str(file), str(dim)]
    done = subprocess.run(  # noqa: S603
        [*command, str(epochs)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def child(side: str, file: str, dim: int, epochs: int) -> None:
    """Fit, and print the peak of the resident memory."""
    with np.load(file) as arrays:
        shape = tuple(arrays["shape"])
        indices, indptr = arrays["indices"], arrays["indptr"]
    weights = csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=shape)
    config = replace(OBJECTIVE, dim=dim, epochs=epochs)
    if side == "avrec":
        epochs_of(weights[:100], config, 2)
        before = _reset_peak()
        seconds = epochs_of(weights, config, 2)
    else:
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415

        options = {"factors": dim, "regularization": 5.0, "alpha": 10.0, "iterations": epochs}
        model, matrix_of_theirs = AlternatingLeastSquares(**options, num_threads=2), csr_matrix
        theirs = matrix_of_theirs(weights)
        del weights
        before, begun = _reset_peak(), time.perf_counter()
        model.fit(theirs, show_progress=False)
        seconds = np.array([(time.perf_counter() - begun) / epochs])
    taken = {
        "before": before,
        "peak": _status("VmHWM"),
        "seconds": float(seconds[1:].min(initial=9e9)),
    }
    print(json.dumps(taken))


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def save(weights: csr_array, file: Path) -> Path:
    """Write a matrix for a child."""
    np.savez(file, shape=weights.shape, indices=weights.indices, indptr=weights.indptr)
    return file


def memory(given: argparse.Namespace) -> None:
    """Compare the growth of the memory with that of implicit."""
    with tempfile.TemporaryDirectory() as folder:
        file = save(matrix(given.users, given.items), Path(folder, "planted.npz"))
        sides = [peak_of_fit(side, file, given.dim, 2) for side in ("avrec", "implicit")]
    ours, theirs = (side["peak"] - side["before"] for side in sides)
    name = f"als memory of a fit, dim {given.dim}"
    figure(f"{name}, growth", ours, "MiB", round(theirs, 1))
    figure(f"{name}, growth, times implicit's", ours / theirs, "times", 1.0, "memory")
    whole, of_peer = (side["peak"] for side in sides)
    figure(f"{name}, whole process", whole, "MiB", round(of_peer, 1))
    figure(f"{name}, whole process, times implicit's", whole / of_peer, "times", 1.0, "memory")


def scaling(given: argparse.Namespace) -> None:
    """Grow users and items alike."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for times in GROWN:
            weights = matrix(given.users * times // 8, given.items * times // 8)
            files.append((save(weights, Path(folder, f"{times}.npz")), weights.nnz))
        rounds = [
            [peak_of_fit("avrec", file, given.dim, given.epochs) for file, _ in files]
            for _ in range(given.rounds)
        ]
    entries = np.array([count for _, count in files])
    seconds = 1e9 * np.array([[one["seconds"] for one in turn] for turn in rounds]) / entries
    grown = np.array([[one["peak"] - one["before"] for one in turn] for turn in rounds])
    by_entry = {
        "epoch, best": (seconds.min(axis=0), "ns"),
        "epoch, median": (np.median(seconds, axis=0), "ns"),
        "memory, median": (2**20 * np.median(grown, axis=0) / entries, "bytes"),
    }
    for name, (values, unit) in by_entry.items():
        for times, count, value in zip(GROWN, entries, values, strict=True):
            figure(f"als scaling {times} x, {count} entries, {name} by entry", value, unit)
        ratio = values.max() / values.min()
        figure(f"als scaling, {name} by entry, most to least", ratio, "times", 1.0, "scaling")


def foldin(given: argparse.Namespace) -> None:
    """Fold users in, one at a time."""
    weights = matrix(given.users, given.items)
    rng = np.random.default_rng(0)
    ids = Vocabulary.of([f"i{n:06}" for n in range(given.items)])
    for dim in (64, 128, 256):
        vectors = rng.normal(0, 0.1, (given.items, dim)).astype(np.float32)
        model = ALS(Factors(ids, vectors), replace(OBJECTIVE, dim=dim))
        taken = []
        for user in rng.integers(0, given.users, FOLDED + 1):
            row = weights.indices[weights.indptr[user] : weights.indptr[user + 1]]
            history, begun = Histories.of([row]), time.perf_counter()
            model.user_vectors(history)
            taken.append(1e3 * (time.perf_counter() - begun))
        name = f"als fold-in of a person, dim {dim}"
        figure(f"{name}, median", float(np.median(taken[1:])), "ms", None, "foldin")
        figure(
            f"{name}, 99th percentile", float(np.quantile(taken[1:], 0.99)), "ms", None, "foldin"
        )


PARTS = {"ray": on_ray, "memory": memory, "scaling": scaling, "foldin": foldin}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--users", type=int, default=116_677, help="fewer for a quick look")
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with threadpool_limits(1, "blas"):
        if given.child:
            side, file, dim, epochs = given.child
            child(side, file, int(dim), int(epochs))
            return
        for part in given.parts:
            PARTS[part](given)
    if ray.is_initialized():
        ray.shutdown()


if __name__ == "__main__":
    main()
