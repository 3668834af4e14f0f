"""Lists for every user at once, each block of users on whichever worker is free."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from avrec import bundle
from avrec.recommend import Context, Ranked
from avrec.schema import RECOMMENDATIONS, TIME
from avrec.store import Artifact, Draft, Part


class _Lister:
    """Loads the bundle once; then writes the lists of one block of users at a time."""

    def __init__(self, artifact: Artifact, draft_place: Any, k: int, at: int) -> None:
        self.bundle = bundle.load(artifact)
        self.place, self.k, self.at = draft_place, k, at

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[Any]]:
        users = np.asarray(block["id"], np.int32)
        loaded = self.bundle
        user_ids, seen = loaded.users.users.id_of(users), loaded.seen.take(users)
        lists = loaded.recommender.recommend(
            loaded.users.histories.take(users),
            k=self.k,
            at=self.at,
            exclude=seen,
            context=Context(finished=seen, request_ids=self._request_ids(user_ids)),
        )
        table = self._table(user_ids, lists)
        part = self.place.write_table(f"part-{users[0]:09d}.parquet", table)
        return {field: [value] for field, value in part._asdict().items()}

    def _table(self, user_ids: pa.StringArray, lists: list[Ranked]) -> pa.Table:
        lengths = [len(ranked.items) for ranked in lists]
        items = np.concatenate([ranked.items for ranked in lists])
        list_of = pa.array(np.repeat(np.arange(len(lists)), lengths))
        ranks = [np.arange(1, length + 1) for length in lengths]
        columns = {
            "request_id": pa.array(self._request_ids(user_ids), pa.string()).take(list_of),
            "user_id": user_ids.take(list_of),
            "item_id": self.bundle.vocabulary.id_of(items),
            "rank": pa.array(np.concatenate(ranks), pa.int32()),
            "score": pa.array(np.concatenate([ranked.scores for ranked in lists]), pa.float32()),
            "propensity": pa.array(np.concatenate([one.propensities for one in lists])),
            "policy": pa.array([one.policy for one in lists], pa.string()).take(list_of),
            "model": pa.repeat(self.bundle.version, len(list_of)),
            "at": pa.repeat(self.at, len(list_of)).cast(TIME),
            "reason": pa.array([why for ranked in lists for why in ranked.reasons], pa.string()),
        }
        return pa.table(columns, schema=RECOMMENDATIONS)

    def _request_ids(self, user_ids: pa.StringArray) -> list[str]:
        return [f"batch-{self.at}-{user}" for user in user_ids.to_pylist()]


def write_lists(
    artifact: Artifact, draft: Draft, *, num_users: int, k: int, at: int, num_actors: int = 2
) -> None:
    """Write RECOMMENDATIONS of `k` items for every user of a bundle, as parts of `draft`.

    Each actor loads the bundle once and writes its own parts; only their names come back.
    """
    draft.set_schema(RECOMMENDATIONS)
    parts = ray.data.range(num_users, override_num_blocks=max(1, min(num_users, 4 * num_actors)))
    written = parts.map_batches(
        _Lister,
        fn_constructor_args=(artifact, draft.place, k, at),
        batch_size=2048,
        compute=ActorPoolStrategy(size=num_actors),
        num_cpus=1,
    )
    for row in written.iter_rows():
        draft.add(Part(**row))
