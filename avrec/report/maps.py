"""Vectors in two dimensions, each item a dot in the colour of a tag."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avrec.arrays import Values, Vectors
from avrec.report.findings import Findings
from avrec.report.html import Markup, join, percent, tag

NUM_COLOURS = 8
OTHER = "other"
WIDTH, HEIGHT, MARGIN = 640, 440, 16


class Plane(NamedTuple):
    """Points of shape (num, 2), and the share of the variance that each axis explains."""

    points: Values
    explained: Values


def principal(vectors: Vectors) -> Plane:
    """Project onto the two directions of most variance (PCA); fewer than two are zeros.

    The sign of a direction is such that its largest entry is positive.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    left, spread, right = np.linalg.svd(centred, full_matrices=False)
    kept = min(2, len(spread))
    signs = np.sign(right[:kept][np.arange(kept), np.abs(right[:kept]).argmax(axis=1)])
    points, explained = np.zeros((len(vectors), 2)), np.zeros(2)
    points[:, :kept] = left[:, :kept] * spread[:kept] * signs
    explained[:kept] = spread[:kept] ** 2 / max(np.sum(spread**2), np.finfo(np.float64).tiny)
    return Plane(points, explained)


def section(findings: Findings) -> Markup | None:
    """One map an encoder."""
    if findings.content is None or not findings.content.modalities:
        return None
    labels, legend = colours(_labels(findings))
    maps = [
        _map(name, findings, vectors[findings.points], labels)
        for name, vectors in sorted(findings.content.modalities.items())
    ]
    return join(_legend(legend), tag("div", *maps, class_="maps"))


def colours(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Number labels by how frequent they are, ties by name; from the last colour on all are one.

    >>> colours(["song", "film", "song"])
    ([0, 1, 0], ['song', 'film'])
    """
    ranked = sorted(Counter(labels).items(), key=lambda one: (-one[1], one[0]))
    names = [name for name, _ in ranked]
    legend = names if len(names) <= NUM_COLOURS else [*names[: NUM_COLOURS - 1], OTHER]
    place = {name: min(n, NUM_COLOURS - 1) for n, name in enumerate(names)}
    return [place[label] for label in labels], legend


def _labels(findings: Findings) -> list[str]:
    """First tag of each point that tells it from others, else its topic, else audio or video."""
    kinds = dict(zip(*(findings.media[n].to_pylist() for n in ("item_id", "kind")), strict=True))
    rows = findings.items.take(findings.points).select(["item_id", "tags"]).to_pylist()
    tags = telling([row["tags"] or [] for row in rows])
    known = {**kinds, **findings.topics}
    others = [known.get(row["item_id"]) or "no file" for row in rows]
    return [(own or [other])[0] for own, other in zip(tags, others, strict=True)]


def telling(tags: Sequence[Sequence[str]]) -> list[list[str]]:
    """Leave out the tags that every item has.

    >>> telling([["demo", "song"], ["demo", "film"]])
    [['song'], ['film']]
    """
    held_by = Counter(tag for own in tags for tag in set(own))
    return [[tag for tag in own if held_by[tag] < len(tags)] for own in tags]


def _map(encoder: str, findings: Findings, vectors: Vectors, labels: list[int]) -> Markup:
    seen = np.flatnonzero(vectors.any(axis=1))
    plane = principal(vectors[seen]) if len(seen) else Plane(np.zeros((0, 2)), np.zeros(2))
    titles = findings.items["title"].take(findings.points[seen]).to_pylist()
    dots = [
        tag(
            "circle",
            tag("title", title),
            cx=round(x, 1),
            cy=round(y, 1),
            r=4,
            class_=f"dot colour-{labels[row]}",
        )
        for row, (x, y), title in zip(seen, _placed(plane.points), titles, strict=True)
    ]
    first, second = (percent(share) for share in plane.explained)
    name = f"Map of {len(seen)} items by {encoder}"
    caption = join(
        tag("strong", encoder),
        f" {len(seen):,} of {len(findings.items):,} items; the axes explain {first} and "
        f"{second} of the variance.",
    )
    box = f"0 0 {WIDTH} {HEIGHT}"
    drawing = tag("svg", tag("title", name), *dots, viewBox=box, role="img", class_="map")
    return tag("figure", drawing, tag("figcaption", caption))


def _placed(points: Values) -> Values:
    """Fill the drawing, the same scale both ways."""
    if not len(points):
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    scale = (room / np.maximum(high - low, 1e-12)).min() if np.any(high > low) else 0.0
    return np.array([WIDTH, HEIGHT]) / 2 + (points - (low + high) / 2) * [scale, -scale]


def _legend(names: list[str]) -> Markup:
    marks = [
        tag("li", tag("svg", tag("circle", cx=6, cy=6, r=5, class_=f"dot colour-{n}"),
                      viewBox="0 0 12 12", aria_hidden="true"), name)
        for n, name in enumerate(names)
    ]  # fmt: skip
    return tag("ul", *marks, class_="legend")
