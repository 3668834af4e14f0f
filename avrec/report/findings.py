"""What a report is made from: the tables of a workspace that are there, of a large one a sample.

A sample is of the items whose id has the smallest hash, so it is the same from run to run, and
one more item changes it by one at most. Tables are read part by part.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx
from avrec.embed import pool
from avrec.embed.pool import Content
from avrec.schema import (
    CAPTIONS,
    DESCRIPTIONS,
    DUPLICATES,
    ITEMS,
    MEDIA,
    METRICS,
    QUARANTINE,
    SEGMENT_LABELS,
    THUMBNAILS,
    TRANSCRIPTS,
    TRIALS,
)
from avrec.store import Workspace
from avrec.vocab import Vocabulary

OF_ITEMS = {
    "descriptions": DESCRIPTIONS,
    "transcripts": TRANSCRIPTS,
    "segment_labels": SEGMENT_LABELS,
    "captions": CAPTIONS,
}
LEARNED = ("towers",)
"""Models whose JSON file holds a curve."""
STATISTICS = ("embed_stats", "describe_stats")
REFUSALS = ("quarantine", "describe_quarantine")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """How much of a workspace a report shows; of more there is a sample."""

    max_items: int = 48
    """Items with picture and description."""
    max_points: int = 1500
    """Items on each map of vectors."""
    max_groups: int = 20
    """Groups of near-duplicates, the largest first."""
    max_examples: int = 5
    """Files of each kind of error."""

    def __post_init__(self) -> None:
        for name in ("max_items", "max_points", "max_groups", "max_examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Refused(NamedTuple):
    """A kind of error: how many rows there are of it, and some of QUARANTINE."""

    kind: str
    num_rows: int
    examples: pa.Table


@dataclass(frozen=True, slots=True)
class Findings:
    """What there is to show; None, or nothing in it, where no job made it.

    `items` are all of them, sorted as their vocabulary; `shown` and `points` are rows of it, drawn
    by hash. `topics` has the first topic of items in `points`; `told[name]` the rows of that table
    that are of items in `shown`; `pictures` maps an id to a JPEG, for items in `shown` or `groups`.
    `curves` has one mapping an epoch of each model that was trained by epochs.
    """

    items: pa.Table
    media: pa.Table
    shown: Idx
    points: Idx
    content: Content | None
    pictures: dict[str, bytes]
    told: dict[str, pa.Table]
    topics: dict[str, str]
    refused: tuple[Refused, ...] | None
    duplicates: pa.Table | None
    groups: tuple[pa.Table, ...]
    statistics: dict[str, Any]
    metrics: pa.Table | None
    trials: pa.Table | None
    curves: dict[str, list[dict[str, float]]]
    seconds: list[tuple[str, float]]
    is_simulated: bool


def gather(workspace: Workspace, config: ReportConfig) -> Findings:
    """Read what a report needs.

    Raises:
        ArtifactError: there is no catalogue yet.
    """
    items = workspace.read_table("items", ITEMS)
    items = items.take(pc.sort_indices(items["item_id"]))
    vocabulary = Vocabulary.of(items["item_id"])
    duplicates = _whole(workspace, "duplicates", DUPLICATES)
    groups = () if duplicates is None else largest(duplicates, config.max_groups)
    shown, points = (
        drawn(items["item_id"], count) for count in (config.max_items, config.max_points)
    )
    wanted = vocabulary.id_of(shown)
    ids = [wanted, *(group["item_id"].combine_chunks() for group in groups)]
    pictures = _of(workspace, "thumbnails", THUMBNAILS, pa.concat_arrays(ids))
    there = [name for name in OF_ITEMS if workspace.has(name)]
    return Findings(
        items=items,
        media=workspace.read_table("media", MEDIA)
        if workspace.has("media")
        else MEDIA.empty_table(),
        shown=shown,
        points=points,
        content=pool.load(workspace.open("content"), vocabulary)
        if workspace.has("content")
        else None,
        pictures=dict(zip(*(pictures[name].to_pylist() for name in THUMBNAILS.names), strict=True)),
        told={name: _of(workspace, name, OF_ITEMS[name], wanted) for name in there},
        topics=_topics(workspace, vocabulary.id_of(points)),
        refused=_refused(workspace, config.max_examples),
        duplicates=duplicates,
        groups=groups,
        statistics={
            name: workspace.open(name).json("stats.json")
            for name in STATISTICS
            if workspace.has(name)
        },
        metrics=_whole(workspace, "metrics", METRICS),
        trials=_whole(workspace, "trials", TRIALS),
        curves=_curves(workspace),
        seconds=_seconds(workspace),
        is_simulated=workspace.has("sample"),
    )


def drawn(item_ids: pa.ChunkedArray, count: int) -> Idx:
    """Rows of the `count` ids with the smallest hash, ascending."""
    digests = [hashlib.sha256(one.encode("utf-8", "surrogatepass")) for one in item_ids.to_pylist()]
    codes = np.array([int.from_bytes(one.digest()[:8]) for one in digests], np.uint64)
    rows = np.argsort(codes, kind="stable")[:count]
    return np.sort(rows).astype(np.int32)


def largest(duplicates: pa.Table, count: int) -> tuple[pa.Table, ...]:
    """Cut DUPLICATES into groups, the largest `count` of them, the first item of each first."""
    sizes = duplicates.group_by("group").aggregate([("item_id", "count")])
    order = [("item_id_count", "descending"), ("group", "ascending")]
    names = sizes.sort_by(order)["group"].to_pylist()[:count]
    groups = (duplicates.filter(pc.equal(duplicates["group"], name)) for name in names)
    return tuple(
        group.take(pc.sort_indices(pc.not_equal(group["item_id"], group["group"]).cast(pa.int8())))
        for group in groups
    )


def _whole(workspace: Workspace, name: str, schema: pa.Schema) -> pa.Table | None:
    return workspace.read_table(name, schema) if workspace.has(name) else None


def _parts(workspace: Workspace, name: str, schema: pa.Schema) -> Iterator[pa.Table]:
    if workspace.has(name):
        found = workspace.open(name)
        for part in found.names("part-"):
            yield found.table(part, schema)


def _of(workspace: Workspace, name: str, schema: pa.Schema, item_ids: pa.Array) -> pa.Table:
    """Rows of some items, part by part, so that no more than one part is held."""
    kept = [
        part.filter(pc.is_in(part["item_id"], value_set=item_ids))
        for part in _parts(workspace, name, schema)
    ]
    return pa.concat_tables([schema.empty_table(), *kept])


def _topics(workspace: Workspace, item_ids: pa.Array) -> dict[str, str]:
    rows = _of(workspace, "descriptions", DESCRIPTIONS, item_ids).select(["item_id", "topics"])
    return {row["item_id"]: row["topics"][0] for row in rows.to_pylist() if row["topics"]}


def _refused(workspace: Workspace, max_examples: int) -> tuple[Refused, ...] | None:
    if not any(workspace.has(name) for name in REFUSALS):
        return None
    parts = [part for name in REFUSALS for part in _parts(workspace, name, QUARANTINE)]
    rows = pa.concat_tables([QUARANTINE.empty_table(), *parts])
    kinds = pc.value_counts(rows["kind"]).to_pylist()
    return tuple(
        Refused(
            kind=one["values"],
            num_rows=one["counts"],
            examples=rows.filter(pc.equal(rows["kind"], one["values"])).slice(0, max_examples),
        )
        for one in sorted(kinds, key=lambda one: (-one["counts"], one["values"]))
    )


def _curves(workspace: Workspace) -> dict[str, list[dict[str, float]]]:
    there = (name for name in LEARNED if workspace.has(name))
    told = {name: workspace.open(name).json(f"{name}.json").get("curve") for name in there}
    return {name: curve for name, curve in told.items() if curve}


def _seconds(workspace: Workspace) -> list[tuple[str, float]]:
    if not workspace.has("pipeline"):
        return []
    return [(str(stage), float(n)) for stage, n in workspace.open("pipeline").json("seconds.json")]
