"""What evaluation compares: popularity always, each trained model, and the whole recommender."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from avrec import users
from avrec.arrays import Idx
from avrec.bundle import (
    build_recommender,
    catalogue,
    duplicates_of,
    retriever,
    trained_models,
)
from avrec.embed import pool
from avrec.evaluate import Case, cases, lists_of
from avrec.models import popularity
from avrec.recommend import SOURCES, RecommendConfig, Recommender
from avrec.schema import ITEMS, MEDIA
from avrec.splits import Split
from avrec.store import Workspace


class Answers(NamedTuple):
    """What every model lists for the users of one case, by the model's name."""

    case: Case
    lists: Mapping[str, Idx]


def answers(workspace: Workspace, split: Split, config: RecommendConfig, k: int) -> list[Answers]:
    """Ask every model for its first `k`, in every case of a split.

    "fused" is the recommender as served without its ranker, "ranked" with it, where there is one.
    Popularity counts what was before the cut, and the last seven days of that. As in serving, a
    user of whom a model knows nothing gets the popular items. Near-duplicates are hidden in the
    first two only, if `config.one_of_each`; a copy of what a user took to later is no hit.
    """
    before = pa.concat_tables([split.train, split.rank])
    items, vocabulary = catalogue(workspace.read_table("items", ITEMS))
    media = workspace.read_table("media", MEDIA)
    made = trained_models(workspace)
    whole = build_recommender(items, before, made, config, media, duplicates_of(workspace))
    *proposing, popular = whole.retrievers
    others = [name for name in SOURCES if name in made and name not in config.sources]
    pooled = pool.load(made["content"], vocabulary) if "content" in made else None
    compared = [retriever(name, made[name], vocabulary, pooled) for name in others]
    models = [popular, popularity.recent(before, vocabulary), *proposing, *compared]
    people = users.read(workspace)
    return [
        Answers(case, _filled(lists_of(models, case, k)) | _served(whole, case, k))
        for case in (_asked(case, people) for case in cases(split, vocabulary))
    ]


def _asked(case: Case, people: pa.Table | None) -> Case:
    """The case with what is known of the users, whose lists are made at the cut."""
    told = users.told(case.histories, case.users, people)
    return replace(case, histories=told.asked(case.at))


def _filled(lists: dict[str, Idx]) -> dict[str, Idx]:
    popular = lists["popularity"]
    return {
        name: np.where((rows < 0).all(axis=1, keepdims=True), popular, rows)
        for name, rows in lists.items()
    }


def _served(whole: Recommender, case: Case, k: int) -> dict[str, Idx]:
    fused = whole.without_ranker()
    lists = {"fused": fused.rows(case.histories, k, case.at)}
    if whole.ranker is not None:
        lists["ranked"] = whole.rows(case.histories, k, case.at)
    return lists
