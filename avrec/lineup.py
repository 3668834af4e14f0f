"""The models that evaluation compares: popularity always, and whatever has been trained."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pyarrow as pa

from avrec.arrays import Idx
from avrec.embed import pool
from avrec.evaluate import Case, cases, lists_of
from avrec.factors import Retriever
from avrec.models import als, content, popularity, towers
from avrec.splits import Split
from avrec.store import Artifact, Workspace
from avrec.vocab import Vocabulary

LOADERS: dict[str, Callable[[Artifact, Vocabulary], Retriever]] = {
    "als": als.load,
    "towers": towers.load,
    "content": lambda artifact, items: content.ContentProfile(pool.load(artifact, items)),
}
"""How each artifact that holds a retrieval model is read."""


class Answers(NamedTuple):
    """What every model lists for the users of one case, by the model's name."""

    case: Case
    lists: Mapping[str, Idx]


def present(workspace: Workspace) -> list[str]:
    """Names of the retrieval models that were made."""
    return [name for name in LOADERS if workspace.has(name)]


def retrievers(workspace: Workspace, split: Split, items: Vocabulary) -> list[Retriever]:
    """Popularity, of all before the cut and of its last seven days, and every trained model."""
    before = pa.concat_tables([split.train, split.rank])
    trained = [LOADERS[name](workspace.open(name), items) for name in present(workspace)]
    return [popularity.fit(before, items), popularity.recent(before, items), *trained]


def answers(workspace: Workspace, split: Split, items: Vocabulary, k: int) -> list[Answers]:
    """Ask every model for its first `k`, in every case of a split."""
    models = retrievers(workspace, split, items)
    return [Answers(case, lists_of(models, case, k)) for case in cases(split, items)]
