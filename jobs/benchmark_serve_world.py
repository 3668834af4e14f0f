"""A synthetic bundle to serve: taste clusters, 20,000 items of 64 factors, 5,000 people.

Nothing is learned and nothing is real: an item's factors lie around the centre of its cluster, and
people take to items of a few clusters, the popular ones more.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec import bundle
from avrec.arrays import Array, Vectors, unit
from avrec.factors import Factors
from avrec.feedback import FeedbackConfig
from avrec.models import als
from avrec.recommend import RecommendConfig
from avrec.schema import DUPLICATES, INTERACTIONS, ITEMS, MEDIA, conform
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from jobs.benchmark_serve_client import Target

ITEMS_SERVED, DIM, PEOPLE, CLUSTERS = 20_000, 64, 5_000, 200
HISTORY, K, CANDIDATES = 30, 20, 100
START = 1_700_000_000_000_000
SECOND = 1_000_000


def clustered(rng: np.random.Generator, num_items: int, dim: int, clusters: int) -> Vectors:
    """Item vectors around cluster centres, of lognormal lengths as learned ones have."""
    centres = unit(rng.standard_normal((clusters, dim), np.float32))
    near = centres[rng.integers(clusters, size=num_items)]
    noise = rng.standard_normal((num_items, dim), np.float32) / np.sqrt(dim, dtype=np.float32)
    lengths = rng.lognormal(0, 0.3, (num_items, 1)).astype(np.float32)
    return unit(near + 0.7 * noise) * lengths


def make(root: Path, num_items: int = ITEMS_SERVED) -> Workspace:
    """Write a workspace with a model and a bundle below `root`."""
    rng, workspace = np.random.default_rng(0), Workspace(str(root))
    ids = [f"item-{n:06}" for n in range(num_items)]
    vectors = clustered(rng, num_items, DIM, CLUSTERS)
    with workspace.create("als", workspace.recipe({"simulated": True})) as draft:
        als.save(als.ALS(Factors(Vocabulary.of(ids), vectors), als.ALSConfig(dim=DIM)), draft)
    titles = [f"Simulated item {n}" for n in range(num_items)]
    contents = bundle.Contents(
        items=conform(pa.table({"item_id": ids, "title": titles}), ITEMS),
        interactions=_interactions(rng, vectors, np.array(ids)),
        seen=bundle.SEEN.empty_table(),
        media=MEDIA.empty_table(),
        duplicates=DUPLICATES.empty_table(),
        models={"als": workspace.open("als")},
        recommend=RecommendConfig(sources=("als",), candidates_per_source=CANDIDATES),
        feedback=FeedbackConfig(),
    )
    with workspace.create("bundle", workspace.recipe({"simulated": True})) as draft:
        bundle.write(draft, contents)
    return workspace


def person(number: int) -> str:
    """Name somebody whom the bundle knows."""
    return f"person-{number:05}"


def asks(target: Target, seed: int) -> Iterator[bytes]:
    """Requests for lists of people at random, without end."""
    people = np.random.default_rng(seed)
    while True:
        body = json.dumps({"user_id": person(int(people.integers(PEOPLE))), "k": K})
        yield target.post("/v1/recommendations", body.encode())


def _interactions(rng: np.random.Generator, vectors: Vectors, ids: Array) -> pa.Table:
    """Each person's items are the likely ones of a small draw from all, by a taste vector."""
    pool = rng.zipf(1.2, (PEOPLE, 10 * HISTORY)) % len(ids)
    tastes = unit(rng.standard_normal((PEOPLE, vectors.shape[1]), np.float32))
    liking = np.einsum("pnd,pd->pn", vectors[pool], tastes)
    chosen = np.take_along_axis(pool, np.argsort(-liking, axis=1)[:, :HISTORY], axis=1)
    people = np.repeat([person(n) for n in range(PEOPLE)], HISTORY)
    at = START + SECOND * np.arange(len(people))
    columns = {
        "user_id": people,
        "item_id": ids[chosen.reshape(-1)],
        "weight": np.ones(len(people), np.float32),
        "at": pa.array(at, pa.timestamp("us", tz="UTC")),
    }
    return conform(pa.table(columns), INTERACTIONS)
