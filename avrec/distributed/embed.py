"""Embed a catalogue with a pool of actors, each with every encoder and a decoding child.

Within an actor the child decodes the next file while the encoders are at work on those before.
Frames and waveforms never leave the actor: vectors go to the workspace as parts of the table, and
only the names of the parts and the rows of the errors come back.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from avrec.arrays import Vectors
from avrec.distributed.probe import sliced
from avrec.embed.encoder import SAMPLING, EmbedConfig, Encoder, key, load_encoder
from avrec.embed.text import texts
from avrec.errors import MediaError
from avrec.media.decode import Clip
from avrec.media.fetch import local_copy
from avrec.media.limits import Limits
from avrec.media.sampling import Plan, Span
from avrec.media.sandbox import Sandbox
from avrec.schema import EMBED_ERRORS, EMBEDDINGS
from avrec.store import Draft, Part, Place

SEGMENTS_AT_ONCE = 32
WHOLE = Span(0.0, 0.0)
"""Span of what an item's text says."""


class _Seen(NamedTuple):
    """An input of one encoder: which item's, and which stretch of it."""

    item_id: str
    span: Span
    value: Any


class _Embedder:
    def __init__(self, config: EmbedConfig, limits: Limits, place: Place) -> None:
        self.config, self.limits, self.place = config, limits, place
        self.encoders = [load_encoder(one) for one in config.encoders]
        self.sandbox = Sandbox(limits)
        self.ahead = ThreadPoolExecutor(1)
        self.plan = plan(config)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Embed a block of items and write its part; gives a row a part and a row an error."""
        rows = batch.to_pylist()
        errors = {row["item_id"]: row["error"] for row in rows if row["error"]}
        clips = [row for row in rows if row["uri"] and not row["error"]]
        tables = list(self._embed_clips(clips, errors))
        kept = [row for row in rows if row["item_id"] not in errors]
        tables += self._encode("text", [_Seen(r["item_id"], WHOLE, r["text"]) for r in kept])
        vectors = pa.concat_tables([EMBEDDINGS.empty_table(), *tables]).sort_by(
            [("item_id", "ascending"), ("encoder", "ascending"), ("start_seconds", "ascending")]
        )
        part = self.place.write_table(f"part-{rows[0]['part']:06d}.parquet", vectors)
        failed = [row | {"error": errors[row["item_id"]]} for row in rows if row not in kept]
        return pa.Table.from_pylist([part._asdict(), *failed], schema=_ANSWER)

    def _embed_clips(
        self, rows: list[Mapping[str, Any]], errors: dict[str, str]
    ) -> Iterator[pa.Table]:
        """Encode clips some segments at a time; what cannot be decoded goes to `errors`."""
        waiting: list[tuple[str, Clip, Span]] = []
        for row, clip in zip(rows, self._decoded(rows), strict=True):
            if isinstance(clip, MediaError):
                errors[row["item_id"]] = str(clip)
                continue
            waiting += [(row["item_id"], clip, span) for span in clip.spans]
            if len(waiting) >= SEGMENTS_AT_ONCE:
                yield from self._encode_segments(waiting)
                waiting = []
        yield from self._encode_segments(waiting)

    def _decoded(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Clip | MediaError]:
        """Decode files in order, one ahead of the reader."""
        coming = None
        for row in rows:
            following = self.ahead.submit(self._decode, row["uri"])
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()

    def _decode(self, uri: str) -> Clip | MediaError:
        try:
            with local_copy(uri, self.limits) as path:
                return self.sandbox.decode(path, self.plan)
        except MediaError as error:
            return error

    def _encode_segments(self, segments: list[tuple[str, Clip, Span]]) -> list[pa.Table]:
        pictures = [_Seen(item_id, span, clip.frames_in(span)) for item_id, clip, span in segments]
        sounds = [_Seen(item_id, span, clip.sound_in(span)) for item_id, clip, span in segments]
        return self._encode("frames", pictures) + self._encode("sound", sounds)

    def _encode(self, modality: str, inputs: list[_Seen]) -> list[pa.Table]:
        inputs = [seen for seen in inputs if len(seen.value)]
        mine = [encoder for encoder in self.encoders if encoder.modality == modality]
        return [
            _table(inputs, encoder, encoder.encode([seen.value for seen in inputs]))
            for encoder in mine
            if inputs
        ]


def plan(config: EmbedConfig) -> Plan:
    """What is taken from every clip."""
    sampling = {name: getattr(config, name) for name in ("policy", *SAMPLING)}
    return Plan(**sampling)


_ANSWER = pa.schema(
    [pa.field(name, pa.string()) for name in ("name", "sha256")]
    + [pa.field(name, pa.int64()) for name in ("size_bytes", "num_rows")]
    + [pa.field(name, pa.string()) for name in ("item_id", "uri", "error")]
)


def embed_all(
    items: pa.Table,
    media: pa.Table,
    config: EmbedConfig,
    limits: Limits,
    draft: Draft,
    descriptions: pa.Table | None = None,
) -> pa.Table:
    """Write EMBEDDINGS of every item as parts of `draft`, and return EMBED_ERRORS.

    Args:
        items: ITEMS; every item with words gets the vectors of the text encoders.
        media: MEDIA; every segment of a file gets those of the others. An item whose file cannot
            be read gets none, but a row among the errors.
        config: the encoders, and how many actors.
        limits: what one file may cost.
        draft: a version of `embeddings` being written.
        descriptions: DESCRIPTIONS, whose words join those of the items.
    """
    draft.set_schema(EMBEDDINGS)
    words = texts(items, descriptions)
    rows = _rows(items, words, media, config.files_per_batch)
    blocks = sliced(rows, config.files_per_batch)
    answers = ray.data.from_blocks(blocks).map_batches(
        _Embedder,
        fn_constructor_args=(config, limits, draft.place),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=min(config.num_actors, len(blocks))),
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
    )
    failed = []
    for row in answers.iter_rows():
        if row["error"] is None:
            draft.add(Part(**{field: row[field] for field in Part._fields}))
        else:
            failed.append({name: row[name] for name in ("item_id", "uri", "error", "sha256")})
    return pa.Table.from_pylist(failed, schema=EMBED_ERRORS).sort_by("item_id")


def _rows(items: pa.Table, said: list[str], media: pa.Table, rows_per_part: int) -> pa.Table:
    """One row an item: its text, and its file where it has one."""
    words = pa.table({"item_id": items["item_id"], "text": pa.array(said, pa.string())})
    files = media.select(["item_id", "uri", "sha256", "error"])
    joined = words.join(files, "item_id", join_type="left outer").sort_by("item_id")
    return joined.append_column("part", pa.array(np.arange(len(joined)) // rows_per_part))


def _table(inputs: list[_Seen], encoder: Encoder[Any], vectors: Vectors) -> pa.Table:
    told = np.flatnonzero(vectors.any(axis=1))
    lists = pa.array(list(vectors[told]), pa.list_(pa.float32()))
    kept = [inputs[row] for row in told]
    columns = [
        pa.array([seen.item_id for seen in kept], pa.string()),
        pa.array([key(encoder)] * len(kept), pa.string()),
        pa.array([seen.span.start_seconds for seen in kept], pa.float64()),
        pa.array([seen.span.stop_seconds for seen in kept], pa.float64()),
        lists,
    ]
    return pa.table(columns, schema=EMBEDDINGS)
