"""Fields of the catalogue as modalities: categories and numbers, beside what is seen and heard.

A field's vectors are laid out so that a trained map of them is what a table would be:

    categories   each value goes, with a sign, to two of `width` places that depend on its text
                 alone (feature hashing, Weinberger et al., ICML 2009), so that the map is a mean
                 of hashed embeddings and a value that is new needs no other map. A value that
                 fewer items hold weighs more, by log(num_items / holders).
    numbers      ranks among the catalogue's known values, spread over the two nearest of KNOTS
                 places, so that the map is a piecewise linear curve

Rows have length 1; an item of which nothing is known has a row of zeros, which is missing.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx, Values, Vectors, unit
from avrec.embed import pool
from avrec.embed.pool import Content
from avrec.models.knowledge import durations
from avrec.schema import ITEMS, MEDIA, conform
from avrec.store import Workspace
from avrec.vocab import Vocabulary

CATEGORIES = ("tags", "creator_id", "language", "age_rating", "regions")
NUMBERS = ("published_at", "duration_seconds")
FIELDS = (*CATEGORIES, *NUMBERS)
FIELD = "field/"
"""Before the name of a field among the modalities."""
KNOTS = 8
WIDTH = 256
PLACES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldsConfig:
    """What of the catalogue models know beside content."""

    names: tuple[str, ...] = ()
    """Fields that towers and cold items learn from: tags, creator_id, language, age_rating,
    regions, published_at, duration_seconds."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in FIELDS]
        if unknown:
            raise ValueError(f"names must be among {FIELDS}, got {unknown}")


def sources(workspace: Workspace, config: FieldsConfig) -> list[str]:
    """Names of the artifacts that `read` reads, of those that were made."""
    wanted = ["content", *(["media"] if "duration_seconds" in config.names else [])]
    return [name for name in wanted if workspace.has(name)]


def read(workspace: Workspace, items: pa.Table, config: FieldsConfig) -> Content:
    """Content of the workspace, where there is any, with the fields beside it."""
    vocabulary = Vocabulary.of(items["item_id"])
    told = sources(workspace, config)
    pooled = pool.load(workspace.open("content"), vocabulary) if "content" in told else None
    media = workspace.read_table("media", MEDIA) if "media" in told else None
    return with_fields(pooled or Content(vocabulary, {}), items, config, media)


def with_fields(
    content: Content, items: pa.Table, config: FieldsConfig, media: pa.Table | None = None
) -> Content:
    """Put the named fields beside the modalities, as "field/NAME".

    Args:
        content: vectors over the catalogue.
        items: ITEMS, in any order.
        config: which fields.
        media: MEDIA, for the durations.
    """
    table = conform(items, ITEMS)
    row = content.items.idx(table["item_id"])
    table = table.filter(pa.array(row >= 0))
    row, files = row[row >= 0], MEDIA.empty_table() if media is None else media
    found = {}
    for name in config.names:
        if name == "duration_seconds":
            found[f"{FIELD}{name}"] = numbers(durations(files, content.items))
        elif name == "published_at":
            at = np.full(len(content.items), np.nan)
            at[row] = _moments(table[name])
            found[f"{FIELD}{name}"] = numbers(at)
        else:
            found[f"{FIELD}{name}"] = categories(table[name], row, len(content.items))
    return replace(content, modalities={**content.modalities, **found})


def categories(column: pa.ChunkedArray, row: Idx, num_items: int, width: int = WIDTH) -> Vectors:
    """Lay out a column of strings or of lists of strings, shape (num_items, width).

    Args:
        column: one entry for each of `row`; nulls are no value.
        row: the item of each entry.
        num_items: rows of the result.
        width: places to hash to.
    """
    values, owner = _flat(column, row)
    names = Vocabulary.of(values.drop_null())
    code = names.idx(values)
    owner, code = np.unique(np.stack([owner, code])[:, code >= 0], axis=1)
    holders = np.bincount(code, minlength=len(names))
    weight = np.log(max(num_items, 1) / np.maximum(holders, 1)) + 1e-3
    places, signs = hashed(names.ids.to_pylist(), width)
    vectors = np.zeros((num_items, width), np.float32)
    for place, sign in zip(places.T, signs.T, strict=True):
        np.add.at(vectors, (owner, place[code]), (sign * weight)[code])
    return unit(vectors)


def hashed(names: Sequence[str], width: int) -> tuple[Idx, Values]:
    """Places in [0, width) and signs of each name, both of shape (len(names), PLACES)."""
    codes = np.array(
        [
            [zlib.crc32(f"{n}{name}".encode("utf-8", "surrogatepass")) for n in range(PLACES)]
            for name in names
        ],
        np.int64,
    ).reshape(-1, PLACES)
    return ((codes >> 1) % width).astype(np.int32), np.where(codes & 1, 1.0, -1.0)


def numbers(values: Values) -> Vectors:
    """Lay out one number an item, NaN where unknown, shape (num_items, KNOTS)."""
    known = np.isfinite(values)
    vectors = np.zeros((len(values), KNOTS), np.float32)
    if known.any():
        ordered = np.sort(values[known])
        middle = np.searchsorted(ordered, values[known]) + np.searchsorted(
            ordered, values[known], side="right"
        )
        rank = middle / (2 * len(ordered)) * (KNOTS - 1)
        vectors[known] = np.maximum(0, 1 - np.abs(rank[:, None] - np.arange(KNOTS)))
    return unit(vectors)


def _flat(column: pa.ChunkedArray, row: Idx) -> tuple[pa.ChunkedArray, Idx]:
    """Single values, and the item of each."""
    if not pa.types.is_list(column.type):
        return column, row
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return pc.list_flatten(column), np.repeat(row, counts)


def _moments(column: pa.ChunkedArray) -> Values:
    moments: Values = pc.cast(column.cast(pa.int64()), pa.float64()).to_numpy(zero_copy_only=False)
    return moments
