"""Features of (query, candidate): one function, in training and in serving.

A feature depends on the query, its history and the candidate, never on which other candidates
stand beside it: the ten items of an old impression and two hundred fresh candidates are measured
alike. What is unknown has a stated value, 0 unless said otherwise, and no feature is NaN.

    dense    retrieval scores, content cosines, popularity, age, overlaps, history, duration
    fields   rows of embedding tables: hashed names, bucketed numbers, hour and day of the week
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Array, Idx, Micros, Scores, Vectors, unit
from avrec.interactions import Histories
from avrec.models.knowledge import Attribute, Knowledge, knowledge, latest

__all__ = ["DENSE", "FIELDS", "SOURCES", "Features", "Knowledge", "featurize", "knowledge"]

SOURCES = ("als", "towers", "content")
"""Retrievers whose scores are features. That of popularity is a count, which grows with the table
it is counted on; `log_popularity` says the same without."""
HISTORY = 50
"""Latest items of a history that are looked at."""
DAY, HOUR = 86_400_000_000, 3_600_000_000
DENSE = (
    *(f"score_{name}" for name in SOURCES),
    "content_last",
    "content_history",
    "content_known",
    "log_popularity",
    "never_seen",
    "log_age_days",
    "age_known",
    "log_history_length",
    "log_hours_since_last",
    "creator_overlap",
    "language_overlap",
    "tag_overlap",
    "log_duration_seconds",
    "duration_known",
)
"""Columns of `Features.dense`. Scores of a source that is absent are 0."""
BUCKETS = 12
FIELDS = {
    "creator": 1024,
    "language": 1024,
    "tag": 1024,
    "favourite_tag": 1024,
    "hour": 24,
    "weekday": 7,
    "history_length": BUCKETS,
    "popularity": BUCKETS,
    "age": BUCKETS,
}
"""Columns of `Features.fields`, each with the number of rows of its table. Row 0 of a hashed
field means none; `tag` is the item's first, `favourite_tag` the one the history holds most."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of n candidates: `dense` (n, DENSE) float32 and `fields` (n, FIELDS) int32."""

    dense: Vectors
    fields: Idx

    def __len__(self) -> int:
        return len(self.dense)


def featurize(
    histories: Histories,
    query: Idx,
    item: Idx,
    retrieval: Mapping[str, Scores],
    knowledge: Knowledge,
    at: Micros,
) -> Features:
    """Describe each pair of a query and a candidate.

    Args:
        histories: what each query took to before the request.
        query: rows of `histories`, one a candidate.
        item: catalogue rows, one a candidate.
        retrieval: scores by name of retriever, one a candidate; names outside SOURCES are unused.
        knowledge: the catalogue.
        at: moment of the request, one a candidate, UTC microseconds.
    """
    recent = histories.last(HISTORY)
    lengths = histories.lengths()[query]
    popularity = knowledge.log_popularity[item]
    published = knowledge.published_at[item]
    age = np.where(published < 0, 0, np.maximum(at - published, 0)) / DAY
    seconds = np.nan_to_num(knowledge.duration_seconds[item], nan=0.0)
    cosines = _cosines(recent, query, item, knowledge.content)
    dense: list[Array] = [
        *(retrieval[name] if name in retrieval else np.zeros(len(item)) for name in SOURCES),
        *cosines.T,
        np.asarray(knowledge.content[item].any(axis=1)),
        popularity,
        knowledge.counts[item] == 0,
        np.log1p(age),
        published >= 0,
        np.log1p(lengths),
        np.log1p(_hours_since(histories, query, at)),
        _overlap(recent, query, item, knowledge.creators),
        _overlap(recent, query, item, knowledge.languages),
        _overlap(recent, query, item, knowledge.tags),
        np.log1p(seconds),
        seconds > 0,
    ]
    fields: list[Array] = [
        knowledge.creators.first[item],
        knowledge.languages.first[item],
        knowledge.tags.first[item],
        _favourite(recent, knowledge.tags)[query],
        (at // HOUR) % 24,
        (at // DAY + 3) % 7,
        _bucket(np.log2(1 + lengths)),
        _bucket(popularity + BUCKETS / 2),
        np.where(published < 0, 0, 1 + _bucket(np.log2(1 + age))).clip(max=BUCKETS - 1),
    ]
    assert len(dense) == len(DENSE)
    assert len(fields) == len(FIELDS)
    return Features(_columns(dense, np.float32), _columns(fields, np.int32))


def _columns(columns: list[Array], kind: type) -> Array:
    table: Array = np.empty((len(columns[0]), len(columns)), kind)
    for place, column in enumerate(columns):
        table[:, place] = column
    return table


def _bucket(values: Array) -> Idx:
    return np.clip(values, 0, BUCKETS - 1).astype(np.int32)


def _hours_since(histories: Histories, query: Idx, at: Micros) -> Array:
    """Hours since the last interaction, at most a year; 0 without a history or its times."""
    last = np.zeros(len(histories), np.int64)
    full = histories.lengths() > 0
    last[full] = histories.at[histories.offsets[1:][full] - 1]
    hours = np.clip((at - last[query]) / HOUR, 0, 24 * 365)
    return np.where(last[query] > 0, hours, 0)


def _cosines(recent: Histories, query: Idx, item: Idx, content: Vectors) -> Vectors:
    """Cosine of each candidate with its query's last item and with the mean of the history."""
    weights = np.ones(len(recent.items), np.float32)
    shape = (len(recent), len(content))
    mean = unit(np.asarray(csr_array((weights, recent.items, recent.offsets), shape) @ content))
    last = latest(recent)
    order = np.argsort(query, kind="stable")
    starts = np.searchsorted(query[order], np.arange(len(recent) + 1))
    cosines = np.zeros((len(query), 2), np.float32)
    for row in np.flatnonzero((np.diff(starts) > 0) & (last >= 0)):
        entries = order[starts[row] : starts[row + 1]]
        cosines[entries] = content[item[entries]] @ np.stack([content[last[row]], mean[row]]).T
    return cosines


def _counts(recent: Histories, attribute: Attribute) -> tuple[Array, Array]:
    """Sorted keys (query * num_codes + code) of a history's values, and their items' number."""
    held = attribute.of(recent.items)
    keys = recent.query_of_item()[held.owner].astype(np.int64) * attribute.num_codes + held.codes
    return np.unique(keys, return_counts=True)


def _overlap(recent: Histories, query: Idx, item: Idx, attribute: Attribute) -> Array:
    """Share of the history's items that hold a value of the candidate, mean over its values."""
    keys, counts = _counts(recent, attribute)
    if not len(keys):
        return np.zeros(len(item))
    held = attribute.of(item)
    asked = query[held.owner].astype(np.int64) * attribute.num_codes + held.codes
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    found = np.where(keys[place] == asked, counts[place], 0)
    total = np.bincount(held.owner, found, len(item))
    values = np.bincount(held.owner, minlength=len(item))
    return total / np.maximum(values * recent.lengths()[query], 1)


def _favourite(recent: Histories, attribute: Attribute) -> Idx:
    """Hash of the value that most items of each history hold; 0 for none, ties by lower code."""
    hashes = np.zeros(len(recent), np.int32)
    keys, counts = _counts(recent, attribute)
    if len(keys):
        query, code = np.divmod(keys, attribute.num_codes)
        order = np.lexsort((code, -counts, query))
        rows, first = np.unique(query[order], return_index=True)
        hashes[rows] = attribute.hashes[code[order][first]]
    return hashes
