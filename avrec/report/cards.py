"""Items with their pictures, and what was understood of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from avrec.report.findings import Findings
from avrec.report.html import Markup, join, picture, tag

LABELS_SHOWN = 4
MINUTE = 60
SHORT = 10


def section(findings: Findings) -> Markup | None:
    """A card an item."""
    if not len(findings.items):
        return None
    rows = findings.items.take(findings.shown).to_pylist()
    media = {row["item_id"]: row for row in _media(findings)}
    told = {name: _by_item(table) for name, table in findings.told.items()}
    cards = [_card(row, media.get(row["item_id"], {}), told, findings) for row in rows]
    sample = f"{len(rows):,} of {len(findings.items):,} items, drawn by the hash of their ids."
    words = sample if len(rows) < len(findings.items) else f"All {len(rows):,} items."
    return join(tag("p", words), tag("ul", *cards, class_="cards"))


def length(seconds: float) -> str:
    """Write a duration.

    >>> length(75.2), length(0.52)
    ('1:15', '0.5 s')
    """
    if seconds < SHORT:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    return f"{minutes}:{rest:02}"


def _media(findings: Findings) -> list[dict[str, Any]]:
    wanted = findings.items["item_id"].take(findings.shown)
    chosen = pa.compute.is_in(findings.media["item_id"], value_set=wanted.combine_chunks())
    return findings.media.filter(chosen).to_pylist()


def _by_item(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["item_id"], []).append(row)
    return rows


def _card(
    item: Mapping[str, Any],
    media: Mapping[str, Any],
    told: Mapping[str, Mapping[str, list[dict[str, Any]]]],
    findings: Findings,
) -> Markup:
    mine = {name: rows.get(item["item_id"], []) for name, rows in told.items()}
    described = (mine.get("descriptions") or [{}])[0]
    return tag(
        "li",
        picture(findings.pictures.get(item["item_id"]), ""),
        tag("h3", item["title"]),
        _facts(item, media),
        _flags(described),
        _chips([*(described.get("topics") or []), *labels(mine.get("segment_labels", []))]),
        _sentence(described),
        _more(mine, described),
        class_="card",
    )


def _facts(item: Mapping[str, Any], media: Mapping[str, Any]) -> Markup:
    seconds = media.get("duration_seconds")
    facts = [
        media.get("kind"),
        None if seconds is None else length(seconds),
        media.get("error"),
        *(item["tags"] or []),
    ]
    return tag("p", " · ".join(fact for fact in facts if fact), class_="facts-line")


def _flags(described: Mapping[str, Any]) -> Markup | None:
    flags = described.get("safety")
    return tag("p", "may harm: " + ", ".join(flags), class_="warning") if flags else None


def labels(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The labels of an item's segments with the highest score, those of safety left out."""
    best: dict[str, float] = {}
    for row in rows:
        if not row["kind"].startswith("safety"):
            best[row["label"]] = max(best.get(row["label"], 0.0), row["score"])
    return sorted(best, key=lambda label: (-best[label], label))[:LABELS_SHOWN]


def _chips(words: list[str]) -> Markup | None:
    distinct = dict.fromkeys(words)
    chips = [tag("li", word, class_="chip") for word in distinct]
    return tag("ul", *chips, class_="chips") if chips else None


def _sentence(described: Mapping[str, Any]) -> Markup | None:
    words = described.get("summary") or described.get("caption")
    return tag("p", words) if words else None


def _more(mine: Mapping[str, list[dict[str, Any]]], described: Mapping[str, Any]) -> Markup | None:
    spoken = " ".join(row["text"] for row in mine.get("transcripts", []))
    captions = " ".join(row["text"] for row in mine.get("captions", []))
    told = {
        "said": spoken or described.get("transcript"),
        "seen": captions or described.get("caption"),
        "language": described.get("language"),
        "mood": described.get("mood"),
        "emotion": described.get("emotion"),
        "audience": described.get("audience"),
        "not told": "; ".join(f"{f}: {why}" for f, why in described.get("reasons") or []),
        "by": described.get("producer"),
    }
    known = [(name, words) for name, words in told.items() if words]
    if not known:
        return None
    cells = [join(tag("dt", name), tag("dd", words)) for name, words in known]
    return tag("details", tag("summary", "What was understood"), tag("dl", *cells))
