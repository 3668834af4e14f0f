"""Planted worlds, whose right answer is known."""

from typing import NamedTuple

import numpy as np

from avrec.arrays import unit
from avrec.embed.pool import Content
from avrec.interactions import Histories
from avrec.models.features import DENSE, FIELDS, Features
from avrec.vocab import Vocabulary

HOUR = 3_600_000_000


class World(NamedTuple):
    content: Content
    histories: Histories
    taste_of_user: np.ndarray
    kind_of_item: np.ndarray
    cold: np.ndarray


def tastes(*, num_users=120, num_items=48, num_kinds=3, length=10, num_cold=6, seed=0) -> World:
    """Every user takes to items of one kind; the last `num_cold` items nobody has yet met.

    Popularity within a kind falls off, and content is the kind plus noise.
    """
    rng = np.random.default_rng(seed)
    kind = np.arange(num_items) % num_kinds
    taste = np.arange(num_users) % num_kinds
    cold = np.arange(num_items) >= num_items - num_cold
    pull = np.where(cold, 0, 1 / (1 + np.arange(num_items) // num_kinds / 4))
    rows = []
    for user in range(num_users):
        chance = pull * np.where(kind == taste[user], 1.0, 0.02)
        rows.append(rng.choice(num_items, length, replace=False, p=chance / chance.sum()))
    flat = np.concatenate(rows).astype(np.int32)
    offsets = np.arange(0, len(flat) + 1, length)
    at = np.tile(np.arange(length), num_users) * HOUR
    vectors = np.eye(num_kinds, 8)[kind] + 0.2 * rng.normal(size=(num_items, 8))
    vocabulary = Vocabulary.of([f"item{n:03}" for n in range(num_items)])
    content = Content(vocabulary, {"planted@1": unit(vectors.astype(np.float32))})
    histories = Histories(offsets, flat, np.ones(len(flat), np.float32), at)
    return World(content, histories, taste, kind, cold)


def cut(histories: Histories, keep: int) -> Histories:
    """First `keep` items of every row."""
    moments = np.full(len(histories), keep * HOUR)
    return histories.as_of(np.arange(len(histories)), moments)


def shares(rng, num_rows=3000):
    """Shares follow one dense feature, and whether tag and favourite tag are of one parity."""
    dense = rng.normal(size=(num_rows, len(DENSE))).astype(np.float32)
    sizes = np.array(list(FIELDS.values()))
    fields = rng.integers(0, np.minimum(sizes, 6), (num_rows, len(sizes))).astype(np.int32)
    tag, favourite = (fields[:, list(FIELDS).index(name)] for name in ("tag", "favourite_tag"))
    agree = np.where(tag % 2 == favourite % 2, 1.5, -1.5)
    return Features(dense, fields), 1 / (1 + np.exp(-dense[:, 0] - agree)).astype(np.float32)
