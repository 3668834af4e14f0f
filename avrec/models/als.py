"""Matrix factorisation for implicit feedback, by alternating least squares.

What is minimised, and by which solvers, is said in `avrec.models.als_objective`. Users' rows are
not kept: they follow from the items and a history, by the regression that training solves. A row
without interactions is zero.

Degenerate input has these answers. No interactions at all, or none of an item or of a user: zero
rows. A negative weight, or one that is not finite: ValueError. A dim above the number of items:
nothing special, for the penalty keeps every regression well posed. An item outside the catalogue
is left out; a user whom training has not seen is folded in from their history, like any other.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from avrec.arrays import Mask, Vectors
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models.als_fit import Epoch, Fitter, split
from avrec.models.als_objective import (
    ALSConfig,
    Population,
    Side,
    loss,
    solve_rows,
)
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

__all__ = ["ALS", "ALSConfig", "Epoch", "Side", "fit", "load", "loss", "save", "solve_rows"]
IDS = pa.schema([pa.field("item_id", pa.string(), nullable=False)])


def fit(
    weights: csr_array,
    config: ALSConfig,
    *,
    rng: np.random.Generator,
    start: Epoch | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    threads: int = 1,
) -> Vectors:
    """Factorise and return the item factors, shape (num_items, dim) float32.

    Args:
        weights: users in rows, items in columns.
        config: the objective and how long to minimise it.
        rng: draws the first item factors; every worker must bring the same.
        start: an epoch to go on from; default before the first.
        on_epoch: called after each epoch; its arrays hold until it returns.
        threads: the result does not depend on their number.

    Raises:
        ValueError: a weight is negative or not finite; the message names its row.
    """
    fitter = Fitter(split(weights, config), config, threads=threads)
    return fitter.run(start or fitter.begin(rng), on_epoch).items


class ALS:
    """Item factors, and users folded in from their histories.

    Args:
        items: one vector a catalogue row; rows that were not trained may have been filled from
            elsewhere (see `avrec.models.cold`).
        trained: which rows `fit` has set; default those that are not zero.
        config: what `items` were fitted with.
        audience: the users that `items` were fitted to, where items are to be folded in too.
    """

    name = "als"

    def __init__(
        self,
        items: Factors,
        config: ALSConfig,
        trained: Mask | None = None,
        audience: Population | None = None,
    ) -> None:
        self.items, self.config, self.audience = items, config, audience
        self.trained = items.known() if trained is None else trained
        of_trained = Side.of(items.vectors[self.trained]).population
        self._fixed = Side(np.ascontiguousarray(items.vectors, np.float32), of_trained)
        self.user_vectors(
            Histories.of([np.empty(0, np.int32)])
        )  # compiles, lest the first request wait for it

    def user_vectors(self, histories: Histories) -> Vectors:
        """Fold histories in: the rows that training would give them, shape (num_queries, dim).

        Raises:
            ValueError: a weight is negative or not finite.
        """
        weights = histories.matrix(len(self.items.vectors))
        return solve_rows(weights, self._fixed, self.config)

    def item_vectors(self, weights: csr_array, listeners: Histories) -> Vectors:
        """Fold items in from the users who took to them, shape (num_rows, dim).

        Args:
            weights: items in rows, those users in columns.
            listeners: histories of those users.

        Raises:
            ValueError: the model was made without its audience, or a weight is wrong.
        """
        if self.audience is None:
            raise ValueError("items are folded in by a model that has its audience")
        fixed = Side(self.user_vectors(listeners), self.audience)
        return solve_rows(weights, fixed, self.config)


def save(model: ALS, draft: Draft) -> None:
    """Write `als.safetensors`, `als.json` and `als.items.parquet`."""
    tensors: dict[str, np.ndarray] = {
        "items": model.items.vectors,
        "trained": model.trained.astype(np.uint8),
    }
    facts: dict[str, object] = {
        "items": model.items.vocabulary.digest,
        "config": asdict(model.config),
    }
    if model.audience is not None:
        tensors["audience"] = model.audience.gram
        facts["audience"] = model.audience.num_known
    draft.add_tensors("als.safetensors", tensors)
    draft.add_json("als.json", facts)
    draft.add_table("als.items.parquet", pa.table([model.items.vocabulary.ids], schema=IDS), IDS)


def load(artifact: Artifact, items: Vocabulary) -> ALS:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the model was made for another catalogue.
    """
    facts = artifact.json("als.json")
    if facts["items"] != items.digest:
        raise ArtifactError("the ALS model is of another catalogue; run train_als again")
    tensors = artifact.tensors("als.safetensors")
    known = Population(tensors["audience"], facts["audience"]) if "audience" in facts else None
    config, trained = ALSConfig(**facts["config"]), tensors["trained"].astype(bool)
    return ALS(Factors(items, tensors["items"]), config, trained, known)


class Earlier(NamedTuple):
    """Item factors of another fit, one row a row of the present catalogue."""

    items: Vectors
    known: Mask


def earlier(artifact: Artifact, items: Vocabulary, config: ALSConfig) -> Earlier:
    """Read the trained factors of a model of this or another catalogue, as a start.

    Args:
        artifact: holds what `save` wrote; a bundle does.
        items: the present catalogue; items that the model lacks are not known.
        config: of the fit to come.

    Raises:
        ArtifactError: the model has another dim, or does not say which items it is of.
    """
    facts = artifact.json("als.json")
    dim = facts["config"]["dim"]
    if dim != config.dim:
        raise ArtifactError(
            f"the ALS model at hand has dim {dim}, not {config.dim}; set als.warm_start = false"
        )
    tensors = artifact.tensors("als.safetensors")
    trained = tensors["trained"].astype(bool)
    place = items.idx(artifact.table("als.items.parquet", IDS)["item_id"])
    kept = trained & (place >= 0)
    vectors = np.zeros((len(items), dim), np.float32)
    vectors[place[kept]] = tensors["items"][kept]
    known = np.zeros(len(items), bool)
    known[place[kept]] = True
    return Earlier(vectors, known)
