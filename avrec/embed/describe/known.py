"""What is known of each item before a language model reads it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from avrec.embed.describe.language import Known
from avrec.schema import CAPTIONS, SEGMENT_LABELS, TRANSCRIPTS

TAG_KINDS = ("sound_event", "music", "frame_tag")
MAX_TAGS = 8
"""Labels of an item that are told, those that score high for long first."""


def known_of(items: pa.Table, found: Mapping[str, pa.Table]) -> dict[str, Known]:
    """Gather what is known, by item_id.

    Args:
        items: ITEMS.
        found: `transcripts`, `segment_labels` and `captions`, as far as there are any.
    """
    transcripts = found.get("transcripts", TRANSCRIPTS.empty_table())
    said, spoken = _texts(transcripts), _languages(transcripts)
    seen = _texts(found.get("captions", CAPTIONS.empty_table()))
    tags = _tags(found.get("segment_labels", SEGMENT_LABELS.empty_table()))
    columns = (items[name].to_pylist() for name in ("item_id", "title", "description", "tags"))
    return {
        item_id: Known(
            title=title,
            description=description or "",
            tags=tuple(dict.fromkeys([*filter(None, own or ()), *tags.get(item_id, ())])),
            caption=seen.get(item_id, ""),
            transcript=said.get(item_id, ""),
            language=spoken.get(item_id, ""),
        )
        for item_id, title, description, own in zip(*columns, strict=True)
    }


def _texts(table: pa.Table) -> dict[str, str]:
    """Texts of an item, in time order, on one line; the first producer's where there are some."""
    parts: dict[str, list[str]] = defaultdict(list)
    for item_id, text in _of_first_producer(table, "text"):
        parts[item_id].append(text.strip())
    return {item_id: " ".join(filter(None, texts)) for item_id, texts in parts.items()}


def _languages(table: pa.Table) -> dict[str, str]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item_id, language in _of_first_producer(table, "language"):
        counts[item_id][language or ""] += 1
    return {
        item_id: max(sorted(found), key=lambda n: found[n]) for item_id, found in counts.items()
    }


def _of_first_producer(table: pa.Table, name: str) -> Iterator[tuple[str, str]]:
    order = [(key, "ascending") for key in ("item_id", "producer", "start_seconds")]
    producer: dict[str, str] = {}
    for row in table.sort_by(order).select(["item_id", "producer", name]).to_pylist():
        if producer.setdefault(row["item_id"], row["producer"]) == row["producer"]:
            yield row["item_id"], row[name]


def _tags(labels: pa.Table) -> dict[str, list[str]]:
    told = labels.filter(pc.is_in(labels["kind"], value_set=pa.array(TAG_KINDS)))
    sums = told.group_by(["item_id", "label"]).aggregate([("score", "sum")])
    ranked = sums.sort_by(
        [("item_id", "ascending"), ("score_sum", "descending"), ("label", "ascending")]
    )
    tags: dict[str, list[str]] = defaultdict(list)
    for row in ranked.to_pylist():
        if len(tags[row["item_id"]]) < MAX_TAGS:
            tags[row["item_id"]].append(row["label"])
    return tags
