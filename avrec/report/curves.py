"""How training went: a model's loss and its score on the validation, epoch by epoch."""

from collections.abc import Mapping, Sequence

from avrec.report.findings import Findings
from avrec.report.html import Markup, join, number, tag

MEASURES = {"loss": "Loss", "score": "ndcg@10 of the validation"}
WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 640, 300, 64, 36, 16
Epoch = Mapping[str, float]


def section(findings: Findings) -> Markup | None:
    """One drawing a model and measure."""
    drawings = [
        _drawing(model, measure, [epoch[measure] for epoch in curve])
        for model, curve in findings.curves.items()
        for measure in MEASURES
        if all(measure in epoch for epoch in curve)
    ]
    return tag("div", *drawings, class_="maps") if drawings else None


def _drawing(model: str, measure: str, values: Sequence[float]) -> Markup:
    what = f"{MEASURES[measure]} of the {model} by epoch"
    best = max(values) if measure == "score" else min(values)
    epoch = values.index(best) + 1
    points = _placed(values)
    dots = [
        tag("circle", tag("title", f"epoch {n}: {number(value)}"), cx=x, cy=y, r=4,
            class_="dot colour-0" if n != epoch else "dot colour-1")
        for n, (value, (x, y)) in enumerate(zip(values, points, strict=True), 1)
    ]  # fmt: skip
    line = " ".join(f"{'L' if n else 'M'}{x} {y}" for n, (x, y) in enumerate(points))
    drawing = tag(
        "svg",
        tag("title", what),
        *_axes(values),
        tag("path", d=line, class_="curve"),
        *dots,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
    )
    caption = join(tag("strong", what), f": best {number(best)}, in epoch {epoch}")
    return tag("figure", drawing, tag("figcaption", caption))


def _placed(values: Sequence[float]) -> list[tuple[float, float]]:
    low, span = min(values), (max(values) - min(values)) or 1.0
    across, down = WIDTH - LEFT - 16, HEIGHT - ABOVE - BELOW
    return [
        (
            round(LEFT + across * (n / max(len(values) - 1, 1)), 1),
            round(ABOVE + down * (1 - (value - low) / span), 1),
        )
        for n, value in enumerate(values)
    ]


def _axes(values: Sequence[float]) -> list[Markup]:
    bottom = HEIGHT - BELOW
    return [
        tag("path", d=f"M{LEFT - 8} {ABOVE}V{bottom + 8}H{WIDTH - 8}", class_="axis"),
        tag("text", number(max(values)), x=LEFT - 14, y=ABOVE + 5, text_anchor="end"),
        tag("text", number(min(values)), x=LEFT - 14, y=bottom + 5, text_anchor="end"),
        tag("text", "1", x=LEFT, y=HEIGHT - 8, text_anchor="middle"),
        tag("text", str(len(values)), x=WIDTH - 16, y=HEIGHT - 8, text_anchor="end"),
    ]
