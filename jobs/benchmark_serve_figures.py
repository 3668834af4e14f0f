"""Figures of the serving benchmark, each one JSON object a line."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from jobs.benchmark_serve_client import DEGRADED, Load

Figure = dict[str, Any]


def at_least(
    name: str, value: float, unit: str, goal: float | None = None, peer: float | None = None
) -> Figure:
    """Tell a value that is to reach its goal."""
    return _figure(name, value, unit, peer, goal, met=None if goal is None else value >= goal)


def at_most(
    name: str, value: float, unit: str, goal: float | None = None, peer: float | None = None
) -> Figure:
    """Tell a value that is to stay within its goal."""
    return _figure(name, value, unit, peer, goal, met=None if goal is None else value <= goal)


def errors(name: str, loads: Iterable[Load]) -> Figure:
    """Tell how many requests had no good answer, and their statuses: 0 is a lost connection."""
    statuses = Counter(status for load in loads for status in load.errors if status != DEGRADED)
    return at_most(name, statuses.total(), "", 0) | {"statuses": dict(statuses)}


def _figure(
    name: str, value: float, unit: str, peer: float | None, goal: float | None, *, met: bool | None
) -> Figure:
    short = None if peer is None else float(f"{peer:.4g}")
    met = None if met is None else bool(met)
    value = float(f"{value:.4g}")
    return {
        "figure": name, "value": value, "unit": unit, "peer": short, "goal": goal, "met": met
    }  # fmt: skip
