"""Cross entropy over 100,000 items in chunks, beside torch's on all logits at once.

One batch of 128 x 50 queries of length 64. Memory is what a process of its own needed at its peak
above what it had before; times are of loss and both gradients, turn by turn in one process.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from avrec.models.losses import full_softmax

NUM_QUERIES, NUM_ITEMS, DIM = 128 * 50, 100_000, 64
MEMORY_GOAL, TIME_GOAL, GRADIENT_GOAL = 0.1, 1.2, 1e-3
PROGRAM = "import sys; from jobs.benchmark_towers_chunked import side; side(sys.argv[1])"

Gradients = tuple[Tensor, ...]


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Queries, items and targets."""
    rng = torch.Generator().manual_seed(0)
    queries = torch.randn(NUM_QUERIES, DIM, generator=rng, requires_grad=True)
    items = torch.randn(NUM_ITEMS, DIM, generator=rng, requires_grad=True)
    return queries, items, torch.randint(0, NUM_ITEMS, (NUM_QUERIES,), generator=rng)


def of_avrec(queries: Tensor, items: Tensor, target: Tensor) -> Gradients:
    """Gradients of the mean loss, by chunks."""
    loss = full_softmax(queries, items, target, torch.full((len(queries),), 1 / len(queries)))
    return torch.autograd.grad(loss, (queries, items))


def of_torch(queries: Tensor, items: Tensor, target: Tensor) -> Gradients:
    """The same, as torch has it."""
    loss = functional.cross_entropy(queries @ items.T, target)
    return torch.autograd.grad(loss, (queries, items))


SIDES: dict[str, Callable[[Tensor, Tensor, Tensor], Gradients]] = {
    "avrec": of_avrec,
    "torch": of_torch,
}


def side(name: str) -> None:
    """Print how many MiB one side needed at its peak above what was there before."""
    given = drawn()
    SIDES[name](given[0][:8], given[1][:8], given[2][:8] % 8)
    before = _peak_mb()
    SIDES[name](*given)
    print(json.dumps(_peak_mb() - before))


def _peak_mb() -> float:
    """Highest resident memory so far (`VmHWM` of Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare memory, time and gradients."""
    torch.set_num_threads(arguments.threads)
    ours, theirs = (_memory(name) for name in SIDES)
    given, apart = drawn(), 0.0
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(arguments.repeats):
        found = []
        for name, gradients in SIDES.items():
            begin = time.perf_counter()
            found.append(gradients(*given))
            seconds[name].append(time.perf_counter() - begin)
        apart = max(apart, *(_apart(a, b) for a, b in zip(*found, strict=True)))
    best, peer = (min(seconds[name]) for name in SIDES)
    return [
        _figure("extra memory", ours / theirs, "of torch's", theirs, MEMORY_GOAL),
        _figure("time", best / peer, "of torch's", peer, TIME_GOAL),
        _figure("gradients, largest relative difference", apart, "", 0.0, GRADIENT_GOAL),
    ]


def _memory(name: str) -> float:
    told = subprocess.run([sys.executable, "-c", PROGRAM, name], check=True, capture_output=True)  # noqa: S603
    return float(json.loads(told.stdout))


def _apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def _figure(what: str, value: float, unit: str, peer: float, goal: float) -> dict[str, Any]:
    figure = f"cross entropy of {NUM_QUERIES} queries, {NUM_ITEMS} items: {what}"
    line = {"figure": figure, "value": round(value, 6), "unit": unit, "peer": round(peer, 3)}
    return line | {"goal": goal, "met": value <= goal}
