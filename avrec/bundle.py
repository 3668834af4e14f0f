"""What serving loads: catalogue, models, histories and their manifest, as one artifact."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec import baselines, index_ann, log, users
from avrec.arrays import Mask, Values
from avrec.copies import Copies
from avrec.duplicates import groups
from avrec.embed import pool
from avrec.errors import ArtifactError
from avrec.factors import Retriever
from avrec.feedback import FeedbackConfig
from avrec.index import Lister
from avrec.index_ann import IndexConfig, Searcher
from avrec.interactions import Histories, UserHistories, histories
from avrec.models import als, cold, content, popularity, ranker, towers
from avrec.models.cold import ContentMap
from avrec.models.fields import FieldsConfig, with_fields
from avrec.models.knowledge import knowledge
from avrec.models.newcomers import Tastes
from avrec.recommend import SOURCES, Newcomers, RecommendConfig, Recommender
from avrec.schema import DUPLICATES, INTERACTIONS, ITEMS, MEDIA, METRICS, USERS, conform
from avrec.sources import segmented
from avrec.store import Artifact, Draft, Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger(__name__)
MODELS = (*SOURCES, "ranker")
TIMED = ("item_id", "uri", "duration_seconds")
SEEN = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("user_id", "item_id")])
"""One row per item that a user must not be shown again."""


class Cold(NamedTuple):
    """How a model's vectors of new items are foretold: a map, and the fields that it reads."""

    map: ContentMap
    fields: FieldsConfig

    def content(self, pooled: pool.Content, items: pa.Table, seconds: Values) -> pool.Content:
        """What the map reads of a catalogue: its content, with the fields of ITEMS."""
        uris = pa.array([""] * len(items), pa.string())
        media = pa.table([items["item_id"], uris, pa.array(seconds)], names=TIMED)
        return with_fields(pooled, items, self.fields, conform(media, MEDIA))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle.

    `items` is sorted as `vocabulary`; `seen` has one row a user of `users`; `durations_seconds`
    one entry an item, NaN where unknown. `maps` are of the models, by name, that items can be
    added to by their `content`.
    """

    version: str
    items: pa.Table
    vocabulary: Vocabulary
    recommender: Recommender
    users: UserHistories
    seen: Histories
    durations_seconds: Values
    feedback: FeedbackConfig
    content: pool.Content | None
    maps: Mapping[str, Cold]


def catalogue(items: pa.Table) -> tuple[pa.Table, Vocabulary]:
    """Sort ITEMS as their vocabulary."""
    return items.take(pc.sort_indices(items["item_id"])), Vocabulary.of(items["item_id"])


def trained_models(workspace: Workspace, names: tuple[str, ...] = MODELS) -> dict[str, Artifact]:
    """Open those of the named models that were made."""
    return {name: workspace.open(name) for name in names if workspace.has(name)}


def served_models(workspace: Workspace, config: RecommendConfig) -> dict[str, Artifact]:
    """Open what lists are made with: those that propose, content for its likeness, the ranker."""
    named = dict.fromkeys(("content", *config.sources, "ranker"))
    return trained_models(workspace, tuple(named))


def duplicates_of(workspace: Workspace) -> pa.Table:
    """Read DUPLICATES; none where nobody looked for them."""
    if not workspace.has("duplicates"):
        return DUPLICATES.empty_table()
    return workspace.read_table("duplicates", DUPLICATES)


def intact(workspace: Workspace) -> bool:
    """Tell whether every file of the current bundle is as its manifest says."""
    try:
        workspace.open("bundle").check()
    except ArtifactError as error:
        logger.warning("the bundle is made again: %s", error)
        return False
    return True


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
    media: pa.Table | None = None,
    duplicates: pa.Table | None = None,
) -> Recommender:
    """Load the models at hand and join them over one catalogue.

    Args:
        items: ITEMS in the order of their vocabulary.
        interactions: INTERACTIONS that popularity is counted on.
        models: artifacts by name, those of `MODELS` that are at hand; of those that
            `config.sources` does not name, only the ranker and what content is like play a part.
        config: how lists are made.
        media: MEDIA of the items that have files.
        duplicates: DUPLICATES, where they were looked for.
    """
    vocabulary = Vocabulary.of(items["item_id"])
    pooled = pool.load(models["content"], vocabulary) if "content" in models else None
    named = [name for name in config.sources if name in models]
    retrievers = [retriever(name, models[name], vocabulary, pooled) for name in named]
    retrievers.append(popularity.fit(interactions, vocabulary))
    scorer = ranker.load(models["ranker"], vocabulary) if "ranker" in models else None
    known = knowledge(items, interactions, pooled, media)
    if duplicates is not None and config.one_of_each:
        known = replace(known, copies=Copies.of(groups(duplicates, vocabulary)))
    titles = items["title"].to_pylist()
    made = Recommender(vocabulary, titles, retrievers, known, scorer, config)
    by_language = segmented(items, interactions, vocabulary, known.playable)
    return made.welcoming(Newcomers(Tastes(items, known.counts), by_language))


def searchers(artifact: Artifact, made: Recommender) -> dict[str, Searcher]:
    """Load what was found the best way to search the vectors of a recommender's models.

    Raises:
        ArtifactError: it is of other items.
        ConfigError: it needs a package that is not installed.
    """
    return {
        one.name: index_ann.load(artifact, one.name, one.items.vectors, _listable(made, one))
        for one in made.retrievers
        if not isinstance(one, Lister) and artifact.names(f"index.{one.name}.")
    }


def _listable(made: Recommender, model: Retriever) -> Mask:
    return model.items.known() & made.knowledge.playable


def retriever(
    name: str, artifact: Artifact, items: Vocabulary, pooled: pool.Content | None
) -> Retriever | Lister:
    """Load the model of `avrec.recommend.SOURCES` that a name means.

    Raises:
        ArtifactError: it was made for another catalogue.
    """
    if name == "content":
        assert pooled is not None
        return content.ContentProfile(pooled)
    if name == "als":
        return als.load(artifact, items)
    if name == "towers":
        return towers.load(artifact, items)
    return baselines.load(name, artifact, items)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a bundle is made of.

    `seen` has the columns of SEEN; `feedback` is how the interactions were weighed, so that live
    events are weighed alike; `users` are USERS, where anybody is described.
    """

    items: pa.Table
    interactions: pa.Table
    seen: pa.Table
    media: pa.Table
    duplicates: pa.Table
    models: Mapping[str, Artifact]
    recommend: RecommendConfig
    feedback: FeedbackConfig
    index: IndexConfig = field(default_factory=IndexConfig)
    users: pa.Table | None = None


def write(draft: Draft, contents: Contents) -> None:
    """Write a bundle's files; model files are copied byte for byte."""
    draft.add_table("items.parquet", contents.items, ITEMS)
    draft.add_table("interactions.parquet", contents.interactions, INTERACTIONS)
    draft.add_table("seen.parquet", contents.seen, SEEN)
    draft.add_table("media.parquet", contents.media, MEDIA)
    draft.add_table("duplicates.parquet", contents.duplicates, DUPLICATES)
    draft.add_table("users.parquet", _described(contents.users), USERS)
    facts = {
        "models": sorted(contents.models),
        "recommend": asdict(contents.recommend),
        "feedback": asdict(contents.feedback),
    }
    draft.add_json("bundle.json", facts)
    for name, artifact in contents.models.items():
        for file_name in artifact.names(f"{name}."):
            draft.add(draft.place.write_part(file_name, artifact.bytes(file_name)))
    if contents.index.tries(len(contents.items)):
        _write_indexes(draft, contents)


def _write_indexes(draft: Draft, contents: Contents) -> None:
    """Measure, for each model of vectors, how they are searched best, by people's histories."""
    items, vocabulary = catalogue(contents.items)
    made = build_recommender(
        items, contents.interactions, contents.models, contents.recommend, contents.media
    )
    everyone = Vocabulary.of(contents.interactions["user_id"])
    rows = np.linspace(0, len(everyone) - 1, min(len(everyone), contents.index.num_queries))
    past = histories(contents.interactions, vocabulary, everyone).histories
    past = users.told(past, everyone, contents.users)
    asked = past.take(rows.astype(np.int32))
    for one in made.retrievers:
        if isinstance(one, Lister) or one.items.dim == 1:
            continue
        queries = one.user_vectors(asked)
        built = index_ann.build(one.items.vectors, _listable(made, one), queries, contents.index)
        index_ann.save(built, one.name, draft)
        for way in built.measured:
            logger.info("index %s", log.pairs(model=one.name, **asdict(way)))


def most_active_user(artifact: Artifact) -> str:
    """Id of the user with the most interactions, the first of several."""
    counts = artifact.table("interactions.parquet", INTERACTIONS).group_by("user_id")
    ranked = counts.aggregate([("item_id", "count")]).sort_by(
        [("item_id_count", "descending"), ("user_id", "ascending")]
    )
    return str(ranked["user_id"][0].as_py())


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
    media = artifact.table("media.parquet", MEDIA)
    config = RecommendConfig.of(facts["recommend"])
    copies = artifact.table("duplicates.parquet", DUPLICATES)
    recommender = build_recommender(items, interactions, models, config, media, copies)
    recommender = recommender.searched_by(searchers(artifact, recommender))
    pooled = pool.load(artifact, vocabulary) if "content" in models else None
    seen = artifact.table("seen.parquet", SEEN)
    described = _people(artifact)
    chunks = [one for table in (interactions, seen, described) for one in table["user_id"].chunks]
    everyone = Vocabulary.of(pa.chunked_array(chunks, pa.string()))
    past = histories(interactions, vocabulary, everyone).histories
    return Bundle(
        version=artifact.version,
        items=items,
        vocabulary=vocabulary,
        recommender=recommender,
        users=UserHistories(everyone, users.told(past, everyone, described)),
        seen=_rows(seen, everyone, vocabulary),
        durations_seconds=recommender.knowledge.duration_seconds,
        feedback=FeedbackConfig(**facts["feedback"]),
        content=pooled,
        maps={} if pooled is None else _maps(artifact, pooled, items, media),
    )


def _described(table: pa.Table | None) -> pa.Table:
    return USERS.empty_table() if table is None else table


def _people(artifact: Artifact) -> pa.Table:
    """USERS; a bundle that was made before there were any has none."""
    known = artifact.names("users.parquet")
    return artifact.table("users.parquet", USERS) if known else USERS.empty_table()


def _maps(
    artifact: Artifact, pooled: pool.Content, items: pa.Table, media: pa.Table
) -> dict[str, Cold]:
    maps = {}
    for name in artifact.names():
        model, is_cold, _ = name.partition(".cold.json")
        if is_cold:
            fields = cold.fields_of(artifact, model)
            learned = cold.load(artifact, model, with_fields(pooled, items, fields, media))
            assert learned is not None
            maps[model] = Cold(learned, fields)
    return maps


def _rows(pairs: pa.Table, users: Vocabulary, items: Vocabulary) -> Histories:
    user, item = users.idx(pairs["user_id"]), items.idx(pairs["item_id"])
    order = np.lexsort((item, user))
    order = order[(user[order] >= 0) & (item[order] >= 0)]
    counts = np.bincount(user[order], minlength=len(users))
    bounds = np.cumsum(counts)[:-1]
    return Histories.of(np.split(item[order], bounds) if len(users) else [])
