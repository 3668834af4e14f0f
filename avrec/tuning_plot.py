"""Trials as a picture: one panel a key, each trial a dot at its value and what it reached.

The file stands alone. A full dot ran to its end, a hollow one was stopped early, and the best has
a ring. A key whose values are numbers of very different size has a logarithmic axis.
"""

import json
import math
from html import escape

import pyarrow as pa

from avrec.schema import TRIALS, conform

WIDTH, HEIGHT, MARGIN = 300, 220, 48
LOG_FROM_RATIO = 30
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" '
    'font-family="sans-serif" font-size="11" fill="#333"><rect width="100%" height="100%" '
    'fill="#fff"/>'
)


def svg(trials: pa.Table) -> str:
    """Draw TRIALS, the best first; trials without a value are left out."""
    rows = [row for row in conform(trials, TRIALS).to_pylist() if row["value"] is not None]
    settings = [json.loads(row["setting"]) for row in rows]
    keys = sorted({key for setting in settings for key in setting})
    panels = [
        _panel(place, key, [setting[key] for setting in settings], rows)
        for place, key in enumerate(keys)
    ]
    head = HEAD.format(max(1, len(keys)) * WIDTH, HEIGHT)
    return "\n".join([head, *panels, "</svg>\n"])


def _panel(place: int, key: str, chosen: list[object], rows: list[dict[str, object]]) -> str:
    across, marks = _axis(chosen)
    values = [float(str(row["value"])) for row in rows]
    low, high = min(values), max(values)
    up = [(value - low) / ((high - low) or 1) for value in values]
    ended = [n for n, row in enumerate(rows) if not row["stopped_early"]]
    parts = [f'<g transform="translate({place * WIDTH} 0)">', _frame(key, rows[0])]
    parts += [_text(_x(at), HEIGHT - MARGIN + 16, mark) for at, mark in marks]
    parts += [_text(MARGIN - 4, _y(at), f"{v:.4f}", "end") for at, v in ((0, low), (1, high))]
    for n, (x, y) in enumerate(zip(across, up, strict=True)):
        fill = "none" if rows[n]["stopped_early"] else "#2a6f97"
        ring = ended[:1] == [n]
        parts.append(_dot(x, y, 3.5, fill, "#2a6f97"))
        parts += [_dot(x, y, 7, "none", "#c1121f")] if ring else []
    return "\n".join([*parts, "</g>"])


def _axis(chosen: list[object]) -> tuple[list[float], list[tuple[float, str]]]:
    """Place values in [0, 1], and name the ends, or each value where they are words."""
    if not all(type(value) in (int, float) for value in chosen):
        words = sorted({str(value) for value in chosen})
        at = {word: (n + 0.5) / len(words) for n, word in enumerate(words)}
        return [at[str(value)] for value in chosen], [(at[word], word) for word in words]
    numbers = [float(str(value)) for value in chosen]
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and high / low >= LOG_FROM_RATIO
    scaled = [math.log(value) for value in numbers] if is_log else numbers
    first, span = min(scaled), (max(scaled) - min(scaled)) or 1
    return [(value - first) / span for value in scaled], [(0, f"{low:.3g}"), (1, f"{high:.3g}")]


def _frame(key: str, row: dict[str, object]) -> str:
    box = (
        f'<rect x="{MARGIN}" y="{MARGIN / 2}" width="{WIDTH - 1.5 * MARGIN}" '
        f'height="{HEIGHT - 1.5 * MARGIN}" fill="none" stroke="#bbb"/>'
    )
    title = _text(WIDTH / 2, HEIGHT - 12, key)
    return box + title + _text(MARGIN, 16, f"{row['metric']}@{row['k']}", "start")


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _dot(x: float, y: float, radius: float, fill: str, stroke: str) -> str:
    place = f'cx="{_x(x):.1f}" cy="{_y(y):.1f}"'
    return f'<circle {place} r="{radius}" fill="{fill}" stroke="{stroke}"/>'


def _x(share: float) -> float:
    return MARGIN + 8 + share * (WIDTH - 1.5 * MARGIN - 16)


def _y(share: float) -> float:
    return HEIGHT - MARGIN - 8 - share * (HEIGHT - 1.5 * MARGIN - 16)
