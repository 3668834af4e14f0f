"""The house rules that a linter cannot see: who may import whom, and how long a file may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "avrec"
LAYERS = [
    {"errors", "arrays"},
    {"schema", "log", "workers", "index_kernels", "stopwatch", "tensors"},
    {"vocab", "store"},
    {"interactions", "tabular", "ledger", "versions"},
    {"factors", "index_search", "prints", "copies"},
    {
        "media",
        "embed",
        "catalogue",
        "events",
        "drained",
        "users",
        "clean",
        "feedback",
        "splits",
        "negatives",
        "index",
        "rerank",
        "metrics",
    },
    {"models", "alike", "likeness", "candidates", "index_ann"},
    {"sources"},
    {"reasons"},
    {"recommend_config", "fusion"},
    {"recommend", "evaluate", "baselines", "duplicates"},
    {"bundle", "sample", "tuning", "tuning_plot"},
    {"lineup", "report", "checks", "growth"},
    {"config"},
    {"distributed", "serving"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
HOME_OF = {
    "av": {"media", "sample"},
    "fastapi": {"serving"},
    "pydantic": {"serving"},
    "ray": {"distributed", "serving"},
    "torch": {"embed", "models", "distributed"},
    "transformers": {"embed"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
JOBS = sorted((ROOT / "jobs").glob("*.py"))


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return names | {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = unit(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "avrec" and rest and rest[0] != here:
            assert RANK[rest[0]] < RANK[here], f"{here} may not import {rest[0]}"
        assert here in HOME_OF.get(top, {here}), f"{top} may not be imported in {here}"


@pytest.mark.parametrize("path", [*FILES, *JOBS], ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_short(path):
    limit = 60 if path in JOBS and not path.stem.startswith("benchmark") else 400
    assert len(path.read_text().splitlines()) <= limit
