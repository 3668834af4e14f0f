"""How much each modality tells of what is learned, found by leaving out one item at a time.

For unit vectors in each modality `m`, weights `s` and learned vectors `Y`, less their mean,

    k(i, j) = exp(sum_m s_m (cos_m(i, j) - 1))

is the kernel of `avrec.models.landmarks` on modalities weighed by s_m, as sharp as their sum. What
a kernel ridge regression foretells of an item from all others misses it by

    e_i = ((K + reg I)^-1 Y)_i / ((K + reg I)^-1)_ii

(Rasmussen and Williams, Gaussian Processes for Machine Learning, 5.4.2), so that `s` and `reg` can
follow the gradient of the sum of squares without a validation set. What counts is the error of a
user's scores, not of vectors, so they are multiplied by (Y'Y)^1/2, as if users were spread as items
are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avrec.arrays import Values, Vectors

SEED = 0
MAX_ITEMS = 1000
"""Items, at most, that the error is taken over; the cost of a step grows with their cube."""
RATE = 0.15
SHARPNESS, REG = 2.0, 0.3
"""At the start, where all modalities weigh alike."""
ROUNDING = 1e-12
"""Share of the squares, below which items are all the same."""


class Weighing(NamedTuple):
    """Weights of the modalities, of sum 1, with the sharpness and penalty that go with them."""

    weights: Values
    sharpness: float
    reg: float


def learn(vectors: Vectors, modalities: Sequence[Vectors], steps: int) -> Weighing:
    """Weigh modalities by how well they foretell what is learned.

    Args:
        vectors: learned vectors of some items, shape (num_items, dim).
        modalities: unit vectors of the same items, at least one; a row of zeros is missing, and
            the others of the item stand for it.
        steps: of Adam; at 0, or where all items are the same, weights are alike.
    """
    some = _some(len(vectors))
    told = _as_scores(torch.from_numpy(vectors[some].astype(np.float64)))
    Y = told - told.mean(dim=0)
    differ = bool((Y**2).sum() > ROUNDING * (told**2).sum())
    cosines = torch.stack([torch.from_numpy(rows[some] @ rows[some].T) for rows in modalities])
    count = len(cosines)
    logs = torch.tensor([np.log(SHARPNESS / count)] * count + [np.log(REG)], requires_grad=True)
    rule = torch.optim.Adam([logs], lr=RATE)
    for _ in range(steps if differ else 0):
        rule.zero_grad()
        torch.autograd.backward(error(Y, cosines.double(), logs.exp()))
        rule.step()
    found = logs.detach().exp().numpy()
    sharpness = float(found[:-1].sum())
    return Weighing(found[:-1] / sharpness, sharpness, float(found[-1]))


def error(Y: Tensor, cosines: Tensor, settings: Tensor) -> Tensor:
    """Squared error of each item foretold from the others, as a share of what there is to foretell.

    Args:
        Y: centred vectors, shape (num_items, dim).
        cosines: by modality, shape (num_modalities, num_items, num_items).
        settings: weights of the modalities, then reg; all above 0.
    """
    weights, reg = settings[:-1], settings[-1]
    cosine = torch.einsum("m,mij->ij", weights, cosines)
    length = torch.diagonal(cosine).clamp(min=1e-9).sqrt()
    kernel = torch.exp(weights.sum() * (cosine / (length[:, None] * length) - 1))
    lower = torch.linalg.cholesky(kernel + reg * torch.eye(len(Y), dtype=Y.dtype))
    inverse = torch.cholesky_inverse(lower)
    missed = inverse @ Y / torch.diagonal(inverse)[:, None]
    return (missed**2).sum() / (Y**2).sum()


def _as_scores(vectors: Tensor) -> Tensor:
    """Vectors whose squared distance is that of their products with all others."""
    values, axes = torch.linalg.eigh(vectors.T @ vectors)
    return vectors @ (axes * values.clamp(min=0).sqrt()) @ axes.T


def _some(count: int) -> np.ndarray:
    if count <= MAX_ITEMS:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, MAX_ITEMS, replace=False))
