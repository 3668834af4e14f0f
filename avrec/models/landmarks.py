"""Features whose dot product is a kernel of likeness.

The kernel of two unit vectors is

    k(x, y) = exp(sharpness (x.y - 1))

which is 1 for the same and falls the faster, the sharper it is. With landmarks `P` and
`k(P, P) = C C'`, features are `k(x, P) C'^-1` (Williams and Seeger, NIPS 2000): their dot product
is the kernel, exactly for landmarks and nearly for what is near them. So what is a sum over a
history, or a kernel ridge regression, becomes vectors like all others.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from avrec.arrays import Mask, Vectors

SEED = 0
JITTER = 1e-5
"""Added to what a landmark is like itself, so that copies among them do no harm."""


def known(content: Vectors) -> Mask:
    """Rows that are not all zeros."""
    return np.asarray(content.any(axis=1))


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Landmarks (m, dim), unit, and the lower triangle C of their kernels (m, m)."""

    points: Vectors
    lower: Vectors
    sharpness: float

    @property
    def dim(self) -> int:
        """Length of the features."""
        return len(self.points)

    def features(self, content: Vectors) -> Vectors:
        """Features (n, m) of unit rows; a row of zeros has zeros."""
        kernels = np.exp(self.sharpness * (content @ self.points.T - 1))
        found = solve_triangular(self.lower, kernels.T, lower=True, check_finite=False).T
        return np.asarray(found * known(content)[:, None], np.float32)


def landmarks(content: Vectors, sharpness: float, most: int) -> Landmarks:
    """Take at most `most` of the unit rows, drawn alike each time; rows of zeros are none."""
    rows = np.flatnonzero(known(content))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))
    points = content[rows]
    kernels = np.exp(sharpness * (points.astype(np.float64) @ points.T - 1))
    lower = np.linalg.cholesky(kernels + JITTER * np.eye(len(points)))
    return Landmarks(points, lower.astype(np.float32), sharpness)
