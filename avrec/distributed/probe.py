"""Probe a listing with a pool of actors, each with a decoding child of its own."""

from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from avrec.errors import MediaError
from avrec.media.fetch import local_copy
from avrec.media.files import Listed, MediaConfig
from avrec.media.limits import Limits
from avrec.media.sandbox import Sandbox
from avrec.schema import MEDIA, conform

FILES_PER_BATCH = 32


class _Prober:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sandbox = Sandbox(limits)

    def __call__(self, files: pa.Table) -> pa.Table:
        rows = [
            {"item_id": item_id, "uri": uri} | self._facts(uri)
            for item_id, uri in zip(
                files["item_id"].to_pylist(), files["uri"].to_pylist(), strict=True
            )
        ]
        return pa.Table.from_pylist(rows, schema=MEDIA)

    def _facts(self, uri: str) -> dict[str, Any]:
        try:
            with local_copy(uri, self.limits) as path:
                return asdict(self.sandbox.probe(path))
        except MediaError as error:
            return {"error": str(error)}


def probe_all(files: list[Listed], config: MediaConfig) -> pa.Table:
    """Probe every file into MEDIA, sorted by item_id; one that cannot be read has an error."""
    if not files:
        return MEDIA.empty_table()
    rows = pa.table(
        {
            "item_id": pa.array([file.item_id for file in files], pa.string()),
            "uri": pa.array([file.uri for file in files], pa.string()),
        }
    )
    probed = ray.data.from_blocks(sliced(rows, FILES_PER_BATCH)).map_batches(
        _Prober,
        fn_constructor_args=(config.limits,),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=min(config.num_actors, -(-len(files) // FILES_PER_BATCH))),
        num_cpus=1,
    )
    parts = [conform(part, MEDIA) for part in ray.get(probed.to_arrow_refs())]
    return pa.concat_tables(parts).sort_by("item_id")


def sliced(table: pa.Table, num_rows: int) -> list[pa.Table]:
    """Cut a table into blocks, one task each."""
    return [table.slice(start, num_rows) for start in range(0, len(table), num_rows)]
