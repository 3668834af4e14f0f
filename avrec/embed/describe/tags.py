"""The labels that fit best."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avrec.arrays import Array


def best(labels: Sequence[str], scores: Array, threshold: float, top: int) -> list[dict[str, Any]]:
    """At most `top` labels whose score reaches `threshold`, the best first, ties in order."""
    order = np.argsort(-scores, kind="stable")[:top]
    kept = [row for row in order.tolist() if scores[row] >= threshold]
    return [{"label": labels[row], "score": float(scores[row])} for row in kept]


def times(span: tuple[float, float]) -> dict[str, float]:
    """Columns of a span."""
    return {"start_seconds": span[0], "stop_seconds": span[1]}
