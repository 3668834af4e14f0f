"""The page: what there is to show, one section after the other, in a file that asks for nothing.

Its policy allows no script, no connection and no style but the one within, so a hostile title can
at most be read.
"""

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from importlib.resources import files

import pyarrow.compute as pc

from avrec.report import cards, copies, curves, errors, maps, quality, stages
from avrec.report.findings import Findings
from avrec.report.html import Markup, tag
from avrec.report.stages import HOUR, facts

Section = Callable[[Findings], Markup | None]
SECTIONS: dict[str, tuple[str, Section]] = {
    "items": ("Items", cards.section),
    "maps": ("Vectors", maps.section),
    "copies": ("Near-duplicates", copies.section),
    "stages": ("Time and cost", stages.section),
    "errors": ("Errors", errors.section),
    "quality": ("Quality of the lists", quality.section),
    "learning": ("Learning", curves.section),
}


def render(findings: Findings, at: datetime) -> str:
    """Write the whole file; a section is there if what it shows is."""
    made = {name: (title, of(findings)) for name, (title, of) in SECTIONS.items()}
    there = {name: (title, body) for name, (title, body) in made.items() if body is not None}
    style = files(__package__).joinpath("style.css").read_text()
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, (title, _) in there.items()]
    sections = [
        tag("section", tag("h2", title, id=f"{name}-title"), body, id=name,
            aria_labelledby=f"{name}-title")
        for name, (title, body) in there.items()
    ]  # fmt: skip
    body = tag(
        "body",
        tag("a", "Skip to the sections", href="#sections", class_="skip"),
        tag("header", tag("h1", "What avrec understood"), _lead(findings, at), _overview(findings)),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *sections, id="sections"),
        tag("footer", tag("p", "Made by avrec. Pictures and text are within this file; "
                          "opening it fetches nothing.")),
    )  # fmt: skip
    return "<!doctype html>\n" + tag("html", _head(style), body, lang="en") + "\n"


def _head(style: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "avrec report"),
        tag("style", Markup(style)),
    )


def _lead(findings: Findings, at: datetime) -> Markup:
    simulated = "The catalogue and its listeners are simulated. " if findings.is_simulated else ""
    return tag("p", f"{simulated}Written {at:%Y-%m-%d %H:%M} UTC.", class_="lead")


def _overview(findings: Findings) -> Markup:
    seconds = pc.sum(findings.media["duration_seconds"]).as_py() or 0.0
    told = [
        (f"{len(findings.items):,}", "items"),
        (f"{len(findings.media):,}", "files"),
        (f"{seconds / HOUR:,.3g} h", "of media"),
    ]
    if findings.content is not None:
        told.append((str(len(findings.content.modalities)), "encoders"))
    if findings.duplicates is not None:
        groups = len(findings.duplicates["group"].unique())
        told.append((f"{len(findings.duplicates) - groups:,}", "repeated uploads"))
    if findings.refused is not None:
        told.append((f"{sum(one.num_rows for one in findings.refused):,}", "errors"))
    return facts(told)
