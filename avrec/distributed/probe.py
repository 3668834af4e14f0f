"""Probe a listing with a pool of actors, each with a decoding child of its own.

What was read of a file is kept in the ledger under its place, size and time, so that a run that
was ended goes on where it was, and new files among many are probed alone.
"""

import hashlib
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import ActorPoolStrategy

from avrec.errors import MediaError
from avrec.ledger import RETRIED, Ledger
from avrec.media.fetch import local_copy
from avrec.media.files import Listed, MediaConfig
from avrec.media.limits import Limits
from avrec.media.sandbox import Sandbox
from avrec.schema import MEDIA, conform
from avrec.store import Place

FILES_PER_BATCH = 32
PRODUCER = "probe@2"
FACTS = pa.schema(list(MEDIA)[2:])
"""What is known of a file, `sha256` first."""
FILES = pa.schema([pa.field(name, pa.string()) for name in ("item_id", "uri", "mark")])
"""One row a file; `mark` names its place, size and time, and is null where those are unknown."""
_KEPT = pa.schema([FACTS.field("sha256").with_name("content"), *list(FACTS)[1:]])


class _Prober:
    def __init__(self, limits: Limits, root: Place) -> None:
        self.limits, self.ledger = limits, ledger_of(root)
        self.sandbox = Sandbox(limits)

    def __call__(self, files: pa.Table) -> pa.Table:
        facts = pa.Table.from_pylist([self._facts(uri) for uri in files["uri"].to_pylist()], FACTS)
        self._keep(files["mark"], facts)
        columns = [files["item_id"], files["uri"], *facts.columns]
        return pa.table(columns, schema=MEDIA)

    def _facts(self, uri: str) -> dict[str, Any]:
        try:
            with local_copy(uri, self.limits) as path:
                return asdict(self.sandbox.probe(path))
        except MediaError as error:
            return {"error": str(error), "sha256": error.sha256}

    def _keep(self, marks: pa.ChunkedArray, facts: pa.Table) -> None:
        """Write to the ledger what will be the same next time."""
        kinds = pc.list_element(pc.split_pattern(pc.fill_null(facts["error"], ""), ":"), 0)
        passing = pc.is_in(kinds, value_set=pa.array(RETRIED))
        told = facts.rename_columns(_KEPT.names).append_column("sha256", marks)
        kept = told.filter(pc.and_(pc.is_valid(marks), pc.invert(passing)))
        self.ledger.write(kept, kept["sha256"].to_pylist())


def ledger_of(root: Place) -> Ledger:
    """Where it is kept what was read of files."""
    return Ledger(root, PRODUCER, "headers", _KEPT)


def probe_all(files: list[Listed], config: MediaConfig, root: Place) -> pa.Table:
    """Probe every file into MEDIA, sorted by item_id; one that cannot be read has an error."""
    listed = _listed(files)
    known = _known(listed, root)
    rest = listed.filter(pc.invert(pc.is_in(listed["item_id"], value_set=_flat(known["item_id"]))))
    parts = [known, *(_probed(rest, config, root) if len(rest) else [])]
    ledger_of(root).compact()
    return pa.concat_tables(parts).sort_by("item_id")


def _probed(rows: pa.Table, config: MediaConfig, root: Place) -> list[pa.Table]:
    blocks = sliced(rows, FILES_PER_BATCH)
    probed = ray.data.from_blocks(blocks).map_batches(
        _Prober,
        fn_constructor_args=(config.limits, root),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=min(config.num_actors, len(blocks))),
        num_cpus=1,
    )
    return [conform(part, MEDIA) for part in ray.get(probed.to_arrow_refs())]


def _listed(files: list[Listed]) -> pa.Table:
    rows = [{"item_id": file.item_id, "uri": file.uri, "mark": _mark(file)} for file in files]
    return pa.Table.from_pylist(rows, schema=FILES)


def _mark(file: Listed) -> str | None:
    if file.size_bytes is None or file.mtime_ns is None:
        return None
    told = f"{file.uri}\0{file.size_bytes}\0{file.mtime_ns}"
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()


def _known(listed: pa.Table, root: Place) -> pa.Table:
    """MEDIA of the files that were probed before and have not changed since."""
    found = [MEDIA.empty_table()]
    for part in ledger_of(root).tables():
        facts = part.rename_columns(["mark", *FACTS.names])
        joined = listed.join(facts, "mark", join_type="inner")
        found.append(conform(joined, MEDIA))
    return pa.concat_tables(found)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def sliced(table: pa.Table, num_rows: int) -> list[pa.Table]:
    """Cut a table into blocks, one task each."""
    return [table.slice(start, num_rows) for start in range(0, len(table), num_rows)]
