"""Small real bundles: words as content, popularity, and what else a test puts in."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from avrec import bundle
from avrec.feedback import FeedbackConfig
from avrec.recommend import RecommendConfig
from avrec.schema import DUPLICATES, INTERACTIONS, ITEMS, MEDIA
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
    )
    with workspace.create("bundle", workspace.recipe({})) as draft:
        bundle.write(draft, contents)
    return draft.version
