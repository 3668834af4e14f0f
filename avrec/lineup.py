"""The models that evaluation compares: popularity always, and whatever has been trained."""

from collections.abc import Callable

import pyarrow as pa

from avrec.arrays import Idx
from avrec.embed import pool
from avrec.evaluate import Case, lists_of
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


def present(workspace: Workspace) -> list[str]:
    """Names of the retrieval models that were made."""
    return [name for name in LOADERS if workspace.has(name)]


def lists(
    workspace: Workspace, split: Split, items: Vocabulary, case: Case, k: int
) -> dict[str, Idx]:
    """First `k` of each model for every user of the case, by name.

    Popularity counts all before the cut, and the seven days before it.
    """
    before = pa.concat_tables([split.train, split.rank])
    models: list[Retriever] = [popularity.fit(before, items), popularity.recent(before, items)]
    models += [LOADERS[name](workspace.open(name), items) for name in present(workspace)]
    return lists_of(models, case, k)
