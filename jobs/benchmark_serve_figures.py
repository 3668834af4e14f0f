"""Figures of the serving benchmark, each one JSON object a line."""

from typing import Any

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


def _figure(
    name: str, value: float, unit: str, peer: float | None, goal: float | None, *, met: bool | None
) -> Figure:
    short = None if peer is None else float(f"{peer:.4g}")
    met = None if met is None else bool(met)
    value = float(f"{value:.4g}")
    return {
        "figure": name, "value": value, "unit": unit, "peer": short, "goal": goal, "met": met
    }  # fmt: skip
