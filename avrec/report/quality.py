"""How good lists are: the table of the evaluation, and the trials of the tuning."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from avrec.report.findings import Findings
from avrec.report.html import Markup, grid, join, tag
from avrec.tuning_plot import svg


def section(findings: Findings) -> Markup | None:
    """The metrics at the longest list, a table a split; then the plot of the trials."""
    parts = [] if findings.metrics is None else _splits(findings.metrics)
    if findings.trials is not None:
        parts.append(_plot(findings.trials))
    return join(*parts) if parts else None


def _splits(metrics: pa.Table) -> list[Markup]:
    if not len(metrics):
        return [tag("p", "No user has anything relevant after the cut.")]
    k = pc.max(metrics["k"]).as_py()
    rows = [row for row in metrics.to_pylist() if row["k"] == k]
    splits = dict.fromkeys(row["split"] for row in rows)
    return [_split(split, k, [row for row in rows if row["split"] == split]) for split in splits]


def _split(split: str, k: int, rows: list[Mapping[str, Any]]) -> Markup:
    names = list(dict.fromkeys(row["metric"] for row in rows))
    models: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        models.setdefault(row["model"], {})[row["metric"]] = row
    best = {name: max(_value(of.get(name)) for of in models.values()) for name in names}
    cells = [
        [model, *(_cell(of.get(name), best[name]) for name in names)]
        for model, of in models.items()
    ]
    caption = f"{split}: {rows[0]['num_users']:,} users, lists of {k}"
    return grid(["Model", *names], cells, caption=caption, numbers=1)


def _value(row: Mapping[str, Any] | None) -> float:
    value = None if row is None else row["value"]
    return float("-inf") if value is None or math.isnan(value) else float(value)


def _cell(row: Mapping[str, Any] | None, best: float) -> str:
    value = _value(row)
    if row is None or value == float("-inf"):
        return "-"
    spread = "" if row["low"] is None else f" ±{(row['high'] - row['low']) / 2:.3f}"
    words = f"{value:.3f}{spread}"
    return tag("strong", words) if value == best else words


def _plot(trials: pa.Table) -> Markup:
    drawing = base64.b64encode(svg(trials).encode()).decode()
    shown = tag(
        "img", src=f"data:image/svg+xml;base64,{drawing}", alt="Trials of the tuning by key"
    )
    caption = "Trials of the tuning: full dots ran to their end, the ring is the best"
    return tag(
        "figure", tag("div", shown, class_="scroll", tabindex="0"), tag("figcaption", caption)
    )
