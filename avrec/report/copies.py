"""Groups of near-duplicates, with pictures."""

import pyarrow as pa

from avrec.report.findings import Findings
from avrec.report.html import Markup, join, percent, picture, tag

MEMBERS_SHOWN = 12


def section(findings: Findings) -> Markup | None:
    """The largest groups; a list shows one of each."""
    if findings.duplicates is None:
        return None
    if not len(findings.duplicates):
        return tag("p", "No two items are near-duplicates.", class_="finding")
    number = len(findings.duplicates["group"].unique())
    words = f"{len(findings.duplicates):,} items are copies of one another, in {number:,} groups."
    more = (
        f" The largest {len(findings.groups)} are shown." if number > len(findings.groups) else ""
    )
    told = tag("p", words + more, class_="finding")
    titles = _titles(findings)
    return join(told, *(_group(group, findings, titles) for group in findings.groups))


def _titles(findings: Findings) -> dict[str, str]:
    wanted = pa.concat_arrays([group["item_id"].combine_chunks() for group in findings.groups])
    rows = findings.items.filter(pa.compute.is_in(findings.items["item_id"], value_set=wanted))
    return dict(zip(*(rows[name].to_pylist() for name in ("item_id", "title")), strict=True))


def _group(group: pa.Table, findings: Findings, titles: dict[str, str]) -> Markup:
    rows = group.slice(0, MEMBERS_SHOWN).to_pylist()
    cards = [
        tag(
            "li",
            picture(findings.pictures.get(row["item_id"]), ""),
            tag("strong", titles.get(row["item_id"], row["item_id"])),
            tag("span", _likeness(row["kind"], row["similarity"])),
            tag("span", "the first", class_="chip") if row["item_id"] == row["group"] else None,
        )
        for row in rows
    ]
    left = len(group) - len(rows)
    more = tag("li", f"and {left:,} more") if left else None
    return tag("ul", *cards, more, class_="strip", tabindex="0")


def _likeness(kind: str, similarity: float) -> str:
    return "the same bytes" if kind == "content" else f"{kind} {percent(similarity)} alike"
