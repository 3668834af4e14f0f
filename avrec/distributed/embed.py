"""From a catalogue and its files to tables of vectors, pictures and what went wrong.

What is computed is kept by content in the ledger; the tables of items are put together from there,
part by part, so that neither their length nor a kill on the way matters.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.distributed.extract import CONTENTS, Extraction, Pool, quarantined
from avrec.distributed.producers import TEXT, Planned, embedding_producers
from avrec.embed.encoder import SAMPLING, EmbedConfig
from avrec.embed.pool import Pooling
from avrec.embed.text import texts
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.schema import EMBEDDINGS, FINGERPRINTS, QUARANTINE, THUMBNAILS, conform
from avrec.store import Draft, Place

OWNERS = pa.schema([pa.field(name, pa.string()) for name in ("item_id", "uri", "sha256")])
"""One row per item x content: whose file, or whose text, it is."""
FILE_STAGES = ("probe", "decode")
"""Where a file is found to be of no use."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose the contents are: OWNERS of the files and of the texts, and what was refused.

    `refused` has the rows of QUARANTINE that are known before anything is decoded.
    """

    files: pa.Table
    texts: pa.Table
    contents: pa.Table
    refused: pa.Table

    def of(self, planned: Planned) -> pa.Table:
        """OWNERS of what a producer looks at."""
        return self.texts if planned.plan_key == TEXT else self.files


def plan(config: EmbedConfig) -> Plan:
    """What is taken from every clip."""
    sampling = {name: getattr(config, name) for name in ("policy", *SAMPLING)}
    return Plan(**sampling)


def extraction(config: EmbedConfig, limits: Limits, root: Place) -> Extraction:
    """How a catalogue is embedded."""
    here = {"": Pool(config.num_actors, config.num_cpus, config.num_gpus)}
    return Extraction(
        root=root,
        plan=plan(config),
        limits=limits,
        producers=embedding_producers(config, plan(config)),
        pools=here | {one.pool: Pool(*one.room) for one in config.encoders if one.pool},
        num_decoders=config.num_decoders,
        files_per_block=config.files_per_batch,
    )


def owned(items: pa.Table, media: pa.Table, descriptions: pa.Table | None = None) -> Owned:
    """Find the contents of a catalogue: files that could be probed, and texts of the items.

    Args:
        items: ITEMS; an item whose file is refused has no text either, for it cannot be played.
        media: MEDIA.
        descriptions: DESCRIPTIONS, whose words join those of the items.
    """
    readable = media.filter(pc.and_(pc.is_null(media["error"]), pc.is_valid(media["sha256"])))
    refused = media.filter(pc.is_valid(media["error"]))
    files = readable.select(OWNERS.names).cast(OWNERS)
    said = _said(items, texts(items, descriptions))
    of_refused = pc.is_in(said["item_id"], value_set=refused["item_id"].combine_chunks())
    said = said.filter(pc.invert(of_refused))
    return Owned(
        files=files,
        texts=said.select(OWNERS.names),
        contents=pa.concat_tables([contents_of(files), contents_of(said)]),
        refused=_refused(refused),
    )


def fingerprint(of: Owned, how: Extraction) -> str:
    """Digest of what the ledger says of the contents, which the tables are made from."""
    total = hashlib.sha256()
    for planned in how.producers:
        outcomes = planned.ledger(how.root).outcomes()
        mine = pc.is_in(outcomes["sha256"], value_set=of.contents["sha256"].combine_chunks())
        told = outcomes.filter(mine).to_pylist()
        total.update(repr((planned.key, planned.plan_key, told)).encode())
    return total.hexdigest()[:16]


def quarantine(of: Owned, how: Extraction) -> pa.Table:
    """QUARANTINE: a row for every item x failure, sorted."""
    owners = pa.concat_tables([of.files, of.texts])
    failed = [failures.join(owners, "sha256", join_type="inner") for failures in quarantined(how)]
    rows = [conform(one, QUARANTINE) for one in failed]
    every = pa.concat_tables([QUARANTINE.empty_table(), of.refused, *rows])
    keys = QUARANTINE.names
    once = every.group_by(keys, use_threads=False).aggregate([]).select(keys).cast(QUARANTINE)
    return once.sort_by([(name, "ascending") for name in ("item_id", "stage", "kind", "message")])


def write_embeddings(
    of: Owned, how: Extraction, refused: pa.Table, draft: Draft, pooling: Pooling
) -> int:
    """Write EMBEDDINGS as parts of `draft`, and add them to `pooling`; gives their number.

    Args:
        of: whose the contents are.
        how: the encoders.
        refused: QUARANTINE; items whose file is of no use are left out.
        draft: a version of `embeddings` being written.
        pooling: where the vectors are added up.
    """
    draft.set_schema(EMBEDDINGS)
    unplayable = refused.filter(pc.is_in(refused["stage"], value_set=pa.array(FILE_STAGES)))
    bad = unplayable["item_id"].combine_chunks()
    number = 0
    for planned in _encoders(how):
        for part in of_items(of, how, planned):
            rows = part.filter(pc.invert(pc.is_in(part["item_id"], value_set=bad)))
            named = conform(
                rows.append_column("encoder", pa.array([planned.key] * len(rows), pa.string())),
                EMBEDDINGS,
            )
            draft.add_table(f"part-{number:06d}.parquet", named, EMBEDDINGS)
            pooling.add(named)
            number += 1
    return number


def write_per_item(of: Owned, how: Extraction, schema: pa.Schema, draft: Draft) -> None:
    """Write THUMBNAILS or FINGERPRINTS as parts of `draft`."""
    draft.set_schema(schema)
    columns = [field.name for field in schema if field.name != "item_id"]
    mine = [planned for planned in how.producers if planned.schema.names == columns]
    for planned in mine:
        for number, part in enumerate(of_items(of, how, planned)):
            draft.add_table(f"part-{number:06d}.parquet", conform(part, schema), schema)


PER_ITEM = {"thumbnails": THUMBNAILS, "fingerprints": FINGERPRINTS}
"""Tables of one row an item, by the name of their artifact and of their switch."""


def _encoders(how: Extraction) -> list[Planned]:
    return [planned for planned in how.producers if "vector" in planned.schema.names]


def of_items(of: Owned, how: Extraction, planned: Planned) -> Iterator[pa.Table]:
    """Rows of contents as rows of the items that have them, part by part."""
    owners = of.of(planned).select(["item_id", "sha256"])
    for part in planned.ledger(how.root).tables():
        numbered = part.append_column("row", pa.array(np.arange(len(part))))
        keys = numbered.select(["sha256", "row"]).join(owners, "sha256", join_type="inner")
        ordered = keys.sort_by([("item_id", "ascending"), ("row", "ascending")])
        if len(ordered):
            yield part.take(ordered["row"]).append_column("item_id", ordered["item_id"])


def _said(items: pa.Table, words: Sequence[str]) -> pa.Table:
    """OWNERS of the texts, and the texts."""
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in words]
    ids, strings = items["item_id"].combine_chunks(), pa.string()
    uris = items["uri"].combine_chunks()
    columns = [ids, uris, pa.array(keys, strings), pa.array(words, strings)]
    said = pa.table(columns, names=[*OWNERS.names, "text"])
    return said.filter(pc.greater(pc.binary_length(said["text"]), 0))


def contents_of(owners: pa.Table) -> pa.Table:
    """CONTENTS: the first owner's file, or the text."""
    kept = "text" if "text" in owners.column_names else "uri"
    first = owners.group_by("sha256", use_threads=False).aggregate([(kept, "first")])
    return conform(first.rename_columns(["sha256", kept]), CONTENTS)


def _refused(media: pa.Table) -> pa.Table:
    told = [error.partition(": ") for error in media["error"].to_pylist()]
    columns = {
        "item_id": media["item_id"],
        "uri": media["uri"],
        "stage": pa.array(["probe"] * len(told), pa.string()),
        "kind": pa.array([kind for kind, _, _ in told], pa.string()),
        "message": pa.array([message for _, _, message in told], pa.string()),
        "sha256": media["sha256"],
    }
    return conform(pa.table(columns), QUARANTINE)
