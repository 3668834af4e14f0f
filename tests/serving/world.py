"""A world of two kinds, blue (b0...) and red (r0...), whose right answers are known."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pyarrow as pa

from avrec.copies import Copies
from avrec.errors import ArtifactError
from avrec.feedback import FeedbackConfig
from avrec.interactions import Histories, UserHistories, histories
from avrec.schema import INTERACTIONS, ITEMS
from avrec.serving.app import interpreter
from avrec.serving.board_sqlite import SQLiteBoard
from avrec.serving.catalogue import Catalogue
from avrec.serving.models import Models
from avrec.serving.service import Service
from avrec.serving.shelf import Kept
from avrec.serving.state_sqlite import SQLiteState
from avrec.vocab import Vocabulary

ODD = ["rz /odd/../id 🎧", "rz?#+&;'\"%"]
IDS = sorted([f"b{n}" for n in range(10)] + [f"r{n}" for n in range(8)] + ODD)
BLUE_FAN, RED_FAN = "ann", "bob 🎧"
START = datetime(2024, 1, 1, tzinfo=UTC)


class TwoKinds:
    """Lists the kind that a history has more of, then the rest; by row within a kind."""

    retrievers = ()
    searchers: ClassVar = {}
    policy, newcomers = "two_kinds", None
    knowledge = SimpleNamespace(
        playable=np.array([i != "b9" for i in IDS]), copies=Copies.none(len(IDS))
    )

    def recommend(self, queries, *, k, at, exclude, context, attempt):
        barred = {*queries.row(0), *exclude.row(0)}
        rows = [row for row in range(len(IDS)) if row not in barred]
        return [self._list(queries.row(0), rows, k)]

    def rank(self, queries, items, *, k, at, context, attempt):
        return [self._list(queries.row(0), items.row(0), k)]

    def similar(self, item, k):
        return self._list([item], [row for row in range(len(IDS)) if row != item], k)

    def _list(self, history, rows, k):
        kinds = Counter(IDS[row][0] for row in history)
        rows = sorted(rows, key=lambda r: (-kinds[IDS[r][0]], r))[:k]
        count = len(rows)
        return SimpleNamespace(
            items=np.array(rows, np.int32),
            scores=np.linspace(1, 0, count, dtype=np.float32),
            propensities=np.ones(count, np.float32),
            sources=[("kind",)] * count,
            reasons=["Same kind"] * count,
            policy=self.policy,
        )


@dataclass
class FakeBundle:
    """What `avrec.bundle.load` gives: ann likes b0 and b1, bob likes r0 and has finished r1."""

    version: str
    items: pa.Table
    vocabulary: Vocabulary
    recommender: TwoKinds
    users: UserHistories
    seen: Histories
    durations_seconds: np.ndarray
    feedback: FeedbackConfig


def bundle(version: str = "v1") -> FakeBundle:
    items = pa.table({"item_id": IDS, "title": [f"Title of {i}" for i in IDS]})
    past = [(BLUE_FAN, "b0"), (BLUE_FAN, "b1"), (RED_FAN, "r0")]
    rows = [{"user_id": u, "item_id": i, "weight": 1.0, "at": START} for u, i in past]
    vocabulary = Vocabulary.of(IDS)
    users = histories(pa.Table.from_pylist(rows, schema=INTERACTIONS), vocabulary)
    seen = Histories.of([np.empty(0, np.int32), vocabulary.idx(["r1"])])
    seconds = np.full(len(IDS), 100.0)
    items = pa.Table.from_pylist(items.to_pylist(), schema=ITEMS)
    return FakeBundle(
        version, items, vocabulary, TwoKinds(), users, seen, seconds, FeedbackConfig()
    )


class FakeShelf:
    """Holds what it is given; versions that it lacks, or that are errors, are refused."""

    def __init__(self, *versions: str) -> None:
        self.bundles: dict[str, FakeBundle | str] = {one: bundle(one) for one in versions}

    def load(self, version: str | None) -> FakeBundle:
        found = self.bundles.get(
            version or max(self.bundles, default=""), "there is no such bundle"
        )
        if isinstance(found, str):
            raise ArtifactError(found)
        return found

    def kept(self) -> list[Kept]:
        return [Kept(one, "2024-01-01T00:00:00+00:00", {}) for one in sorted(self.bundles)]


def models(path: Path, shelf: FakeShelf | None = None, **options) -> Models:
    """One replica on the state at a path."""
    state = SQLiteState(path)

    def serve(loaded: FakeBundle) -> Service:
        return Service(loaded, state, interpreter(loaded))

    board = SQLiteBoard(path)
    return Models(board, shelf or FakeShelf("v1"), serve, Catalogue(board), **options)
