"""Public interaction data, as the benchmarks of quality need them: what is known, what is asked.

Sets come from a folder with one folder a set; which files each needs is said by its loader.
"""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Array, Idx
from avrec.evaluate import Case
from avrec.interactions import Histories
from avrec.vocab import Vocabulary


class Task(NamedTuple):
    """Weights to learn from, users in rows; the case's users are the given `rows` of them."""

    weights: csr_array
    items: Vocabulary
    rows: Idx
    case: Case


class Asked(NamedTuple):
    """A set to choose settings by, and one, with what the first one asks told, to report."""

    name: str
    validation: Task
    test: Task


class Sampled(NamedTuple):
    """One held-out item a user, and the negatives it is ranked among."""

    weights: csr_array
    held_out: Idx
    negatives: Idx


def ncf(folder: Path) -> Sampled:
    """MovieLens 1M as split for NCF (He et al., WWW 2017): 99 negatives a user.

    Needs `train.tsv.gz` (user, item), `ml-1m.test.rating.gz` and `ml-1m.test.negative.gz`.
    """
    user, item = _numbers(folder / "train.tsv.gz").T
    asked = _numbers(folder / "ml-1m.test.rating.gz")
    with gzip.open(folder / "ml-1m.test.negative.gz", "rt") as lines:
        negatives = np.array([line.split("\t")[1:] for line in lines], np.int32)
    shape = len(asked), int(max(item.max(), asked[:, 1].max(), negatives.max())) + 1
    return Sampled(_matrix(user, item, np.ones(len(user)), shape), asked[:, 1], negatives)


def last_items(folder: Path) -> Asked:
    """MovieLens 1M as split for SASRec (Kang and McAuley, ICDM 2018), without its order.

    The last item of each user is asked in the test, the last but one in the validation. Needs
    `ml-1m.txt.gz` (user, item, in time order), numbered from 1.
    """
    user, item = _numbers(folder / "ml-1m.txt.gz").T - 1
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order]
    still_to_come = np.searchsorted(user, user, side="right") - 1 - np.arange(len(user))
    ones = np.ones(len(user))
    return _asked("ml-1m last item", user, item, ones, np.minimum(still_to_come, 2))


def listening(folder: Path, seed: int) -> Asked:
    """Last.fm listening counts (HetRec 2011): 20 % of all pairs, drawn at random, are asked.

    The validation asks 10 % of the others. Needs `user_artists.dat.gz` (user, artist, count).
    """
    rows = _numbers(folder / "user_artists.dat.gz", skip=1)
    user, item = (np.unique(column, return_inverse=True)[1] for column in rows.T[:2])
    drawn = np.random.default_rng(seed).random(len(rows))
    part = np.digitize(drawn, [0.2, 0.28])
    return _asked("hetrec-lastfm-2k", user, item, rows[:, 2], part)


def histories_of(weights: csr_array) -> Histories:
    """Rows of a matrix as histories, without times."""
    return Histories(
        weights.indptr.astype(np.int64),
        weights.indices.astype(np.int32),
        weights.data.astype(np.float32),
        np.zeros(weights.nnz, np.int64),
    )


def vocabulary(prefix: str, count: int) -> Vocabulary:
    """Ids in the order of rows."""
    return Vocabulary.of([f"{prefix}{row:07}" for row in range(count)])


def _asked(name: str, user: Array, item: Array, weight: Array, part: Array) -> Asked:
    """Part 0 is asked in the test, 1 in the validation, and the rest is always known."""
    shape = int(user.max()) + 1, int(item.max()) + 1
    test, valid, rest = (
        _matrix(user[part == n], item[part == n], weight[part == n], shape) for n in range(3)
    )
    return Asked(name, _task(rest, valid), _task(csr_array(rest + valid), test))


def _matrix(user: Array, item: Array, weight: Array, shape: tuple[int, int]) -> csr_array:
    return csr_array((weight.astype(np.float32), (user, item)), shape=shape)


def _numbers(path: Path, skip: int = 0) -> Array:
    with gzip.open(path, "rt") as lines:
        return np.loadtxt(lines, np.int64, skiprows=skip, ndmin=2)


def _task(known: csr_array, asked: csr_array) -> Task:
    rows = np.flatnonzero(np.diff(asked.indptr)).astype(np.int32)
    users = Vocabulary(vocabulary("u", known.shape[0]).id_of(rows))
    counts = np.bincount(known.indices, minlength=known.shape[1])
    case = Case("test", users, histories_of(known[rows]), histories_of(asked[rows]), counts, 0)
    return Task(known, vocabulary("i", known.shape[1]), rows, case)
