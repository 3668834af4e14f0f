"""Features whose dot product is a kernel of likeness.

The kernel of two unit vectors is

    k(x, y) = exp(sharpness (x.y - 1))

which is 1 for the same and falls the faster, the sharper it is. With landmarks `L`, features are
`k(x, L) k(L, L)^-1/2` (Williams and Seeger, NIPS 2000): their dot product is the kernel, exactly
for landmarks and nearly for what is near them. So what is a sum over a history, or a kernel ridge
regression, becomes vectors like all others.
"""

from dataclasses import dataclass

import numpy as np

from avrec.arrays import Mask, Vectors

SEED = 0


def known(content: Vectors) -> Mask:
    """Rows that are not all zeros."""
    return np.asarray(content.any(axis=1))


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Landmarks (m, dim), unit, and what turns kernels with them into features (m, m)."""

    points: Vectors
    root: Vectors
    sharpness: float

    @property
    def dim(self) -> int:
        """Length of the features."""
        return len(self.points)

    def features(self, content: Vectors) -> Vectors:
        """Features (n, m) of unit rows; a row of zeros has zeros."""
        kernels = np.exp(self.sharpness * (content @ self.points.T - 1))
        found: Vectors = ((kernels @ self.root) * known(content)[:, None]).astype(np.float32)
        return found


def landmarks(content: Vectors, sharpness: float, most: int) -> Landmarks:
    """Take at most `most` of the unit rows, drawn alike each time; rows of zeros are none."""
    rows = np.flatnonzero(known(content))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))
    points = content[rows]
    kernels = np.exp(sharpness * (points.astype(np.float64) @ points.T - 1))
    values, directions = np.linalg.eigh(kernels)
    kept = values > 1e-6 * max(values.max(initial=0), 1e-12)
    root = (directions[:, kept] / np.sqrt(values[kept])) @ directions[:, kept].T
    return Landmarks(points, root.astype(np.float32), sharpness)
