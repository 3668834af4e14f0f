"""Models that others are measured against, and that may propose too: SVD, BPR, neighbours.

Each is fitted whole, in one process. `NAMES` are those of their artifacts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from avrec.factors import Factors
from avrec.models import bpr, neighbours, svd
from avrec.models.bpr import BPR, BPRConfig
from avrec.models.neighbours import Neighbours, NeighboursConfig
from avrec.models.svd import SVD, SVDConfig
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

NAMES = ("svd", "bpr", "item_neighbours", "user_neighbours")
SIDES = {f"{side}_neighbours": side for side in neighbours.SIDES}

Baseline = SVD | BPR | Neighbours
Section = SVDConfig | BPRConfig | NeighboursConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselinesConfig:
    """Which of them are fitted."""

    models: tuple[str, ...] = NAMES
    """What `jobs.train_baselines` fits: svd, bpr, item_neighbours and user_neighbours."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in NAMES]
        if unknown:
            raise ValueError(f"models must be among {NAMES}, got {unknown}")


def fit(weights: csr_array, items: Vocabulary, section: Section, *, seed: int) -> Baseline:
    """Fit the model that the section is of, to weights with users in rows."""
    if isinstance(section, SVDConfig):
        vectors = svd.fit(weights, section, rng=np.random.default_rng(seed))
        return SVD(Factors(items, vectors), section)
    if isinstance(section, BPRConfig):
        learned = bpr.fit(weights, section, seed=seed)
        return BPR(Factors(items, learned.items), learned.fold, section)
    return neighbours.fit(weights, items, section)


def save(model: Baseline, draft: Draft) -> None:
    """Write a model's files, named after its artifact."""
    if isinstance(model, SVD):
        svd.save(model, draft)
    elif isinstance(model, BPR):
        bpr.save(model, draft)
    else:
        neighbours.save(model, draft)


def load(name: str, artifact: Artifact, items: Vocabulary) -> Baseline:
    """Read the model of `NAMES` that `save` wrote.

    Raises:
        ArtifactError: it was made for another catalogue.
    """
    if name == "svd":
        return svd.load(artifact, items)
    if name == "bpr":
        return bpr.load(artifact, items)
    return neighbours.load(artifact, items, SIDES[name])
