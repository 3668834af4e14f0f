"""Near-duplicates: items that are one work uploaded several times, as groups.

A group is all that is tied, directly or through others.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from avrec.alike import DuplicatesConfig, Ties, Works, candidates, ties
from avrec.arrays import Idx, Mask, Vectors, unit
from avrec.embed.pool import Content
from avrec.models.knowledge import durations
from avrec.prints import Prints
from avrec.schema import DUPLICATE_KINDS, DUPLICATES, FINGERPRINTS, ITEMS, MEDIA, conform
from avrec.vocab import Vocabulary


def find(
    items: pa.Table,
    media: pa.Table,
    fingerprints: pa.Table,
    content: Content | None,
    config: DuplicatesConfig,
) -> pa.Table:
    """Group the near-duplicates of a catalogue, as DUPLICATES sorted by group, then item.

    Args:
        items: ITEMS.
        media: MEDIA of the items that have files.
        fingerprints: FINGERPRINTS of the items that have any.
        content: pooled vectors of the items, or None.
        config: when two are alike.
    """
    catalogue = conform(items, ITEMS)
    vocabulary = Vocabulary.of(catalogue["item_id"])
    known = conform(media, MEDIA)
    keys = contents(known, vocabulary)
    rows = _first_of_each(keys)
    place = pc.index_in(vocabulary.id_of(rows), value_set=fingerprints["item_id"])
    prints = conform(fingerprints, FINGERPRINTS).take(place)
    frames, sound = (Prints.of(prints[name]) for name in ("frames", "sound"))
    vectors = _vectors(content, rows, config, ~_blank(frames, sound))
    works = Works(rows, durations(known, vocabulary)[rows], frames, sound, vectors)
    found = ties(works, candidates(works, config), config)
    joined = _joined(_same_content(keys), _of_items(found, works))
    return table(joined, catalogue)


def table(found: Ties, items: pa.Table) -> pa.Table:
    """Close `found`, rows of the vocabulary of ITEMS, into DUPLICATES."""
    ordered = items.take(pc.sort_indices(items["item_id"]))
    label, best = components(found, len(ordered)), surest(found, len(ordered))
    published = pc.fill_null(ordered["published_at"].cast(pa.int64()), np.iinfo(np.int64).max)
    by_age = np.lexsort((np.arange(len(ordered)), published.to_numpy()))
    first = np.full(len(ordered), -1, np.int32)
    first[label[by_age[::-1]]] = by_age[::-1]
    rows = np.flatnonzero(best.kinds < len(DUPLICATE_KINDS))
    rows = rows[np.lexsort((rows, first[label[rows]]))]
    columns = [
        ordered["item_id"].take(pa.array(rows)),
        ordered["item_id"].take(pa.array(first[label[rows]])),
        pa.array(DUPLICATE_KINDS).take(pa.array(best.kinds[rows])),
        pa.array(best.similarity[rows], pa.float32()),
    ]
    return pa.table(columns, schema=DUPLICATES)


def groups(duplicates: pa.Table, items: Vocabulary) -> Idx:
    """For each catalogue row the lowest row of its group, which is itself where it is alone."""
    found = conform(duplicates, DUPLICATES)
    row, names = items.idx(found["item_id"]), Vocabulary.of(found["group"])
    known = row >= 0
    group = names.idx(found["group"])[known]
    lowest = np.full(len(names), len(items), np.int32)
    np.minimum.at(lowest, group, row[known])
    of_item = np.arange(len(items), dtype=np.int32)
    of_item[row[known]] = lowest[group]
    return of_item


def components(found: Ties, num_items: int) -> Idx:
    """Number the groups that ties join; each row's number, shape (num_items,)."""
    ones = np.ones(len(found.first), bool)
    graph = csr_array((ones, (found.first, found.second)), shape=(num_items, num_items))
    label: Idx = connected_components(graph, directed=False)[1]
    return label


def surest(found: Ties, num_items: int) -> Ties:
    """Of the ties of each row the surest kind, then the most alike; row by row.

    A row without ties has a kind beyond the last and similarity 0.
    """
    row = np.concatenate([found.first, found.second])
    other = np.concatenate([found.second, found.first])
    kinds, similarity = np.tile(found.kinds, 2), np.tile(found.similarity, 2)
    order = np.lexsort((other, -similarity, kinds, row))
    rows, first = np.unique(row[order], return_index=True)
    best = Ties(
        np.arange(num_items, dtype=np.int32),
        np.full(num_items, -1, np.int32),
        np.full(num_items, len(DUPLICATE_KINDS), np.int32),
        np.zeros(num_items, np.float32),
    )
    best.second[rows] = other[order][first]
    best.kinds[rows] = kinds[order][first]
    best.similarity[rows] = similarity[order][first]
    return best


def contents(media: pa.Table, items: Vocabulary) -> pa.Array:
    """SHA-256 of each catalogue row's file, null where there is none that could be read."""
    good = media.filter(pc.and_(pc.is_null(media["error"]), pc.is_valid(media["sha256"])))
    row = items.idx(good["item_id"])
    place = np.full(len(items), -1, np.int64)
    place[row[row >= 0]] = np.flatnonzero(row >= 0)
    known = pa.array(place, mask=place < 0)
    return good["sha256"].combine_chunks().take(known)


def _first_of_each(keys: pa.Array) -> Idx:
    """The first row of each content, in the order of their SHA-256, in which ids have no part."""
    rows: Idx = pc.index_in(Vocabulary.of(keys).ids, value_set=keys).to_numpy().astype(np.int32)
    return rows


def _blank(frames: Prints, sound: Prints) -> Mask:
    """Which contents were looked at and have nothing but black and silence."""
    blank = np.stack([frames.blank(), sound.blank()])
    empty = np.diff([frames.offsets, sound.offsets], axis=1) == 0
    told: Mask = (blank | empty).all(axis=0) & blank.any(axis=0)
    return told


def _vectors(
    content: Content | None, rows: Idx, config: DuplicatesConfig, telling: Mask
) -> dict[str, Vectors]:
    pooled = {} if content is None else content.modalities
    named = {name.partition("@")[0]: vectors[rows] for name, vectors in pooled.items()}
    return {
        name: unit(vectors) * telling[:, None]
        for name, vectors in named.items()
        if name in config.encoders
    }


def _same_content(keys: pa.Array) -> Ties:
    """Tie each row to the next of the same bytes."""
    codes = pc.fill_null(keys.dictionary_encode().indices, -1).to_numpy()
    order = np.argsort(codes, kind="stable").astype(np.int32)
    same = (codes[order][1:] == codes[order][:-1]) & (codes[order][1:] >= 0)
    first, second = order[:-1][same], order[1:][same]
    return Ties(first, second, np.zeros(len(first), np.int32), np.ones(len(first), np.float32))


def _of_items(found: Ties, works: Works) -> Ties:
    return found._replace(first=works.items[found.first], second=works.items[found.second])


def _joined(*parts: Ties) -> Ties:
    return Ties(*(np.concatenate(column) for column in zip(*parts, strict=True)))
