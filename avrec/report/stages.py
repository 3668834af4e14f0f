"""Where the time went: how busy each stage was, which starves the others, what it cost."""

from collections.abc import Mapping
from typing import Any

from avrec.report.findings import Findings
from avrec.report.html import Markup, grid, join, number, percent, tag

NAMES = {"embed_stats": "Embedding", "describe_stats": "Describing"}
HOUR = 3600.0
WIDTH, ROW, BAR, GAP, SHARE = 640, 46, 14, 4, 72
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
WORKING = 0.05
"""Busy share from which the busiest stage may be said to starve the others."""


def section(findings: Findings) -> Markup | None:
    """Statistics of each job that has any, and seconds of the pipeline's stages."""
    parts = [_job(NAMES[name], stats) for name, stats in findings.statistics.items()]
    if findings.seconds:
        rows = [[stage, f"{seconds:.1f}"] for stage, seconds in findings.seconds]
        caption = "Seconds of each stage of the last pipeline; 0.0 found its work done"
        parts.append(grid(["Stage", "Seconds"], rows, caption=caption, numbers=1))
    return join(*parts) if parts else None


def size(num_bytes: float) -> str:
    """Write a size for people.

    >>> size(1_530_000)
    '1.53 MB'
    """
    place = 0
    while num_bytes >= 1000 and place < len(UNITS) - 1:  # noqa: PLR2004 -- a kilo
        num_bytes, place = num_bytes / 1000, place + 1
    return f"{num_bytes:.3g} {UNITS[place]}"


def _job(name: str, stats: Mapping[str, Any]) -> Markup:
    return tag(
        "article",
        tag("h3", name),
        tag("p", _starving(stats), class_="finding"),
        _speeds(stats),
        _chart(stats["stages"]),
        _amounts(stats["stages"]),
    )


def _starving(stats: Mapping[str, Any]) -> Markup:
    busiest = next((s for s in stats["stages"] if s["name"] == stats["bottleneck"]), None)
    if busiest is None or busiest["busy_share"] < WORKING:
        return join("No stage was busy for long: the run was too short to tell what it waited for.")
    share = percent(busiest["busy_share"])
    return join(
        tag("strong", busiest["name"]),
        f" starves the others: busy {share} of the time of the {busiest['lanes']} "
        f"{busiest['lane']} it has. More of these, or a cheaper stage, makes the whole faster.",
    )


def _speeds(stats: Mapping[str, Any]) -> Markup:
    wall = max(stats["wall_seconds"], 1e-9)
    hours = stats["media_seconds"] / HOUR
    cost = stats["cost_per_media_hour"]
    told = [
        (number(stats["files"] / wall), "files a second"),
        (number(hours / wall * HOUR), "media-hours an hour"),
        (f"{number(wall)} s", f"after {number(stats['start_seconds'])} s of start-up"),
    ]
    if cost:
        told += [
            (f"{number(cost['cpu_seconds'])} s", "CPU for an hour of media"),
            (f"{number(cost['gpu_seconds'])} s", "GPU for an hour of media"),
            (size(cost["bytes_in"]), "read for an hour of media"),
        ]
    return facts(told)


def facts(told: list[tuple[str, str]]) -> Markup:
    """Write numbers, each with what it counts."""
    cells = [tag("div", tag("dd", value), tag("dt", words)) for value, words in told]
    return tag("dl", *cells, class_="facts")


def _chart(stages: list[Mapping[str, Any]]) -> Markup:
    rows = sorted(stages, key=lambda stage: -stage["busy_share"])
    bars = [_bar(place, stage) for place, stage in enumerate(rows)]
    height = ROW * len(rows) + 4
    title = tag("title", "Busy share of each stage")
    drawing = tag("svg", title, *bars, viewBox=f"0 0 {WIDTH} {height}", role="img", class_="bars")
    return tag("figure", drawing, tag("figcaption", "Share of the run that each stage was busy"))


def _bar(place: int, stage: Mapping[str, Any]) -> Markup:
    y, room = place * ROW, WIDTH - SHARE
    length = room * min(max(stage["busy_share"], 0.0), 1.0)
    top = y + ROW - BAR - GAP
    return join(
        tag("text", _short(stage["name"]), x=0, y=top - 6),
        tag("rect", x=0, y=top, width=room, height=BAR, rx=3, class_="track"),
        tag("rect", x=0, y=top, width=round(length, 1), height=BAR, rx=3, class_="bar"),
        tag("text", percent(stage["busy_share"]), x=room + 10, y=top + BAR - 1),
    )


def _short(name: str, most: int = 48) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _amounts(stages: list[Mapping[str, Any]]) -> Markup:
    heads = ["Stage", "Works in", "Busy s", "CPU s", "GPU s", "In", "Out", "Files", "Media h"]
    rows = [
        [
            stage["name"],
            f"{stage['lanes']} {stage['lane']}",
            *(f"{stage[name]:.1f}" for name in ("seconds", "cpu_seconds", "gpu_seconds")),
            *(size(stage[name]) for name in ("bytes_in", "bytes_out")),
            f"{stage['files']:,.0f}",
            f"{stage['media_seconds'] / HOUR:.2f}",
        ]
        for stage in stages
    ]
    return tag(
        "details",
        tag("summary", "Numbers"),
        grid(heads, rows, caption="What each stage took", numbers=2),
    )
