"""What item vectors and a user tower lose in fewer bytes: the last item of MovieLens 1M.

Vectors of ALS (dim 64) and of a causal tower are kept as whole numbers of 8 bits, or by product
codes; the tower's matrices lose their smallest weights and are rounded to 8 bits. The tower is the
one that the part "sequences" left in `--runs`, or else a smaller one of a few epochs, trained here.
A value is NDCG@10, of 2,000 users, in parts of that with 4 bytes a number; the goal is our own.
"""

import argparse
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from avrec.embed.pool import Content
from avrec.factors import Factors, Retriever
from avrec.models import als, coded, pruned, towers
from avrec.models.als import ALS, ALSConfig
from avrec.models.coded import Coded
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers import Towers
from jobs.benchmark_towers_sequences import CONFIG, NAME, World, left, quality, world

METRIC = "NDCG@10"
SHORT = replace(
    CONFIG,
    history_length=50,
    epochs=3,
    validation_users=0,
    sequence=SequenceConfig(dropout=0.1, similarity="dot", max_windows=4, average=0.99),
)
NUM_USERS = 2000
PARTS = (32, 16, 8)
LEFT_OUT = (0.0, 0.3, 0.5, 0.7)
GOALS = {"8 bits": 0.99, "32 bytes a row": 0.95, "8 bits, 0% left out": 0.99}


def some_of(given: World) -> World:
    """Some of the users."""
    drawn = np.random.default_rng(0).permutation(len(given.asked))[:NUM_USERS]
    users = np.sort(drawn).astype(np.int32)
    return given._replace(past=given.past.take(users), asked=given.asked[users])


def of_als(given: World) -> ALS:
    """Factorise with settings that suit the set."""
    config = ALSConfig(dim=64, reg=0.03, unobserved_weight=0.1, epochs=10)
    weights = given.past.matrix(len(given.items))
    vectors = als.fit(weights, config, rng=np.random.default_rng(0))
    return ALS(Factors(given.items, vectors), config)


def of_towers(given: World, arguments: argparse.Namespace) -> Towers:
    """Take up the tower of `--runs`, or train a smaller one."""
    content = Content(given.items, {})
    files = left(arguments.runs / f"{NAME}-{arguments.seeds[0]}")
    if files is None:
        print(f"no tower in {arguments.runs}: a smaller one is trained", flush=True)
        return towers.fit(given.past, content, SHORT, seed=arguments.seeds[0])
    return towers.from_files(files, towers.prepare(given.past, content, CONFIG), content, CONFIG)


def codes(model: Retriever) -> Iterator[tuple[str, Coded]]:
    """Each way to keep the item vectors."""
    vectors = model.items.vectors
    yield "8 bits", coded.int8(vectors)
    for parts in PARTS:
        rng = np.random.default_rng(0)
        yield f"{parts} bytes a row", coded.product(vectors, parts, rng=rng)


def with_items(model: ALS | Towers, few: Coded) -> ALS | Towers:
    """The model over what the codes stand for, in histories too."""
    items = Factors(model.items.vocabulary, few.vectors(slice(None)))
    return ALS(items, model.config) if isinstance(model, ALS) else replace(model, items=items)


def smaller(model: Towers) -> Iterator[tuple[str, Towers, int]]:
    """The tower with fewer and rounded weights, and the bytes of its network on file."""
    for share in LEFT_OUT:
        packed = pruned.pack(model.user, share)
        user = pruned.unpack(deepcopy(model.user), packed)
        assert isinstance(user, type(model.user))
        name = f"8 bits, {share:.0%} left out"
        yield name, replace(model, user=user), pruned.num_bytes(packed)


def run(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compare lists before and after."""
    folder = arguments.data / NAME
    if not folder.is_dir():
        print(f"SKIPPED: there is no {NAME} in {arguments.data}", flush=True)
        return
    torch.set_num_threads(arguments.threads)
    given = world(folder)
    models = (of_als(given), of_towers(given, arguments))
    given = some_of(given)
    for model in models:
        whole = quality(model, given)
        plain = model.items.vectors.nbytes
        print(f"{model.name}: {whole}, {plain} bytes of item vectors", flush=True)
        for name, few in codes(model):
            found = quality(with_items(model, few), given)
            what = f"{model.name}, item vectors, {name}, {few.num_bytes / plain:.3f} of the bytes"
            yield _figure(what, found, whole, GOALS.get(name))
        if isinstance(model, Towers):
            plain = sum(4 * p.numel() for p in model.user.parameters())
            for name, other, size in smaller(model):
                what = f"{model.name}, network, {name}, {size / plain:.3f} of the bytes"
                found = quality(other, given)
                yield _figure(what, found, whole, GOALS.get(name))


def _figure(
    what: str, found: Mapping[str, float], whole: Mapping[str, float], goal: float | None
) -> dict[str, Any]:
    value = found[METRIC] / whole[METRIC]
    line = {"figure": f"{NAME}, {METRIC}: {what}", "value": round(value, 4)}
    line |= {"unit": "of that uncompressed", "peer": round(whole[METRIC], 4)}
    return line | {"goal": goal, "met": None if goal is None else value >= goal}
