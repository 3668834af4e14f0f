"""Small real bundles: words as content, popularity, and what else a test puts in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from avrec import bundle
from avrec.embed import pool
from avrec.embed.encoder import EmbedConfig
from avrec.embed.pool import Content
from avrec.embed.text import WordHashes, texts
from avrec.feedback import FeedbackConfig
from avrec.index_ann import IndexConfig
from avrec.media.limits import Limits
from avrec.recommend import RecommendConfig
from avrec.schema import DUPLICATES, EMBEDDINGS, INTERACTIONS, ITEMS, MEDIA
from avrec.store import Artifact, Workspace

AT = datetime(2024, 1, 1, tzinfo=UTC)


def interactions(pairs: Iterable[tuple[str, str]]) -> pa.Table:
    liked = [{"user_id": u, "item_id": i, "weight": 1.0, "at": AT} for u, i in pairs]
    return pa.Table.from_pylist(liked, schema=INTERACTIONS)


def write_bundle(
    workspace: Workspace,
    items: Sequence[Mapping[str, Any]],
    pairs: Iterable[tuple[str, str]],
    models: Mapping[str, Artifact] | None = None,
    **others: Any,
) -> str:
    """Write a bundle and give its version."""
    contents = bundle.Contents(
        items=pa.Table.from_pylist(list(items), schema=ITEMS),
        interactions=interactions(pairs),
        seen=bundle.SEEN.empty_table(),
        media=others.get("media", MEDIA.empty_table()),
        duplicates=DUPLICATES.empty_table(),
        models=models or {},
        recommend=others.get("recommend", RecommendConfig()),
        feedback=FeedbackConfig(),
        index=others.get("index", IndexConfig()),
        users=others.get("users"),
    )
    with workspace.create("bundle", workspace.recipe({})) as draft:
        bundle.write(draft, contents)
    return draft.version


ENCODER = "word_hashes@1"


def means(items: pa.Table) -> np.ndarray:
    return WordHashes().encode(texts(items))


def write_content(
    workspace: Workspace, rows: Sequence[Mapping[str, Any]], **encoding: Any
) -> Content:
    """Write `content` from words alone, embedded as `encoding` says."""
    items, vocabulary = bundle.catalogue(pa.Table.from_pylist(list(rows), schema=ITEMS))
    columns = [items["item_id"], [ENCODER] * len(items), [0.0] * len(items), [0.0] * len(items)]
    pooled = pool.pool(pa.table([*columns, list(means(items))], schema=EMBEDDINGS), vocabulary)
    config = EmbedConfig(**encoding)
    with workspace.create("content", workspace.recipe({})) as draft:
        pool.save(pooled, draft)
        draft.add_json(pool.ENCODING, {"embed": asdict(config), "limits": asdict(Limits())})
    return pooled
