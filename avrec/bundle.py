"""What serving loads: catalogue, models, histories and their manifest, as one artifact."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Values
from avrec.embed import pool
from avrec.errors import ArtifactError
from avrec.factors import Retriever
from avrec.interactions import Histories, UserHistories, histories
from avrec.models import als, content, popularity, ranker, towers
from avrec.models.features import knowledge
from avrec.recommend import RecommendConfig, Recommender
from avrec.schema import INTERACTIONS, ITEMS, METRICS
from avrec.store import Artifact, Draft, Workspace
from avrec.vocab import Vocabulary

MODELS = ("content", "als", "towers", "ranker")
SEEN = pa.schema(
    [pa.field("user_id", pa.string(), nullable=False)]
    + [pa.field("item_id", pa.string(), nullable=False)]
)
"""One row per item that a user must not be shown again."""
DURATIONS = pa.schema([pa.field("item_id", pa.string()), pa.field("duration_seconds", pa.float64())])
"""One row per item with media."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle.

    `items` is sorted as `vocabulary`; `seen` has one row a user of `users`; `durations_seconds`
    one entry an item, NaN where unknown.
    """

    version: str
    items: pa.Table
    vocabulary: Vocabulary
    recommender: Recommender
    users: UserHistories
    seen: Histories
    durations_seconds: Values


def catalogue(items: pa.Table) -> tuple[pa.Table, Vocabulary]:
    """Sort ITEMS as their vocabulary."""
    return items.take(pc.sort_indices(items["item_id"])), Vocabulary.of(items["item_id"])


def trained_models(workspace: Workspace) -> dict[str, Artifact]:
    """Open the models of `MODELS` that were made."""
    return {name: workspace.open(name) for name in MODELS if workspace.has(name)}


def headline(workspace: Workspace) -> dict[str, float]:
    """Collect the metrics that a bundle's manifest carries, as `model/split/metric@k`."""
    if not workspace.has("metrics"):
        return {}
    rows = workspace.read_table("metrics", METRICS).to_pylist()
    return {
        f"{row['model']}/{row['split']}/{row['metric']}@{row['k']}": row["value"] for row in rows
    }


def build_recommender(
    items: pa.Table,
    interactions: pa.Table,
    models: Mapping[str, Artifact],
    config: RecommendConfig,
    at: int | None = None,
) -> Recommender:
    """Load the models at hand and join them over one catalogue.

    Args:
        items: ITEMS in the order of their vocabulary.
        interactions: INTERACTIONS that popularity is counted on.
        models: artifacts by model name; only those of `MODELS` that were made.
        config: how lists are made.
        at: the moment that "recent" is counted back from, UTC microseconds; default the last
            interaction.
    """
    vocabulary = Vocabulary.of(items["item_id"])
    pooled = pool.load(models["content"], vocabulary) if "content" in models else None
    retrievers: list[Retriever] = []
    if "als" in models:
        retrievers.append(als.load(models["als"], vocabulary))
    if "towers" in models:
        retrievers.append(towers.load(models["towers"], vocabulary))
    if pooled is not None:
        retrievers.append(content.ContentProfile(pooled))
    retrievers.append(popularity.fit(interactions, vocabulary))
    scorer = ranker.load(models["ranker"], vocabulary) if "ranker" in models else None
    known = knowledge(items, interactions, pooled)
    titles = items["title"].to_pylist()
    return Recommender(vocabulary, titles, retrievers, known, scorer, config)


def write(
    draft: Draft,
    *,
    items: pa.Table,
    interactions: pa.Table,
    seen: pa.Table,
    durations: pa.Table,
    models: Mapping[str, Artifact],
    config: Mapping[str, object],
) -> None:
    """Write a bundle's files; model files are copied byte for byte."""
    draft.add_table("items.parquet", items, ITEMS)
    draft.add_table("interactions.parquet", interactions, INTERACTIONS)
    draft.add_table("seen.parquet", seen, SEEN)
    draft.add_table("durations.parquet", durations, DURATIONS)
    draft.add_json("bundle.json", {"models": sorted(models), "recommend": config})
    for name, artifact in models.items():
        for file_name in artifact.names(f"{name}."):
            draft.add(draft.place.write_part(file_name, artifact.bytes(file_name)))


def load(artifact: Artifact) -> Bundle:
    """Check every file of a bundle against its hash and load it.

    Raises:
        ArtifactError: a file is absent, altered, or does not belong to this catalogue.
    """
    artifact.check()
    items, vocabulary = catalogue(artifact.table("items.parquet", ITEMS))
    interactions = artifact.table("interactions.parquet", INTERACTIONS)
    facts = artifact.json("bundle.json")
    unknown = sorted(set(facts["models"]) - set(MODELS))
    if unknown:
        raise ArtifactError(f"the bundle holds models that this version cannot load: {unknown}")
    models = dict.fromkeys(facts["models"], artifact)
    recommender = build_recommender(
        items, interactions, models, RecommendConfig(**facts["recommend"])
    )
    seen = artifact.table("seen.parquet", SEEN)
    everyone = pa.chunked_array(interactions["user_id"].chunks + seen["user_id"].chunks, pa.string())
    past = histories(interactions, vocabulary, Vocabulary.of(everyone))
    return Bundle(
        version=artifact.version,
        items=items,
        vocabulary=vocabulary,
        recommender=recommender,
        users=past,
        seen=_rows(seen, past.users, vocabulary),
        durations_seconds=_durations(artifact.table("durations.parquet", DURATIONS), vocabulary),
    )


def _rows(pairs: pa.Table, users: Vocabulary, items: Vocabulary) -> Histories:
    user, item = users.idx(pairs["user_id"]), items.idx(pairs["item_id"])
    order = np.lexsort((item, user))
    order = order[(user[order] >= 0) & (item[order] >= 0)]
    offsets = np.concatenate(([0], np.cumsum(np.bincount(user[order], minlength=len(users)))))
    rows = item[order]
    return Histories(
        offsets.astype(np.int64), rows, np.ones(len(rows), np.float32), np.zeros(len(rows), np.int64)
    )


def _durations(table: pa.Table, items: Vocabulary) -> Values:
    known = items.idx(table["item_id"])
    seconds = np.full(len(items), np.nan)
    values = table["duration_seconds"].to_numpy().astype(np.float64)
    seconds[known[known >= 0]] = values[known >= 0]
    return seconds
