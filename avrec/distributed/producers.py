"""What looks at decoded clips, or at texts, and gives rows for the ledger.

Encoders, describers, fingerprints and thumbnails are all producers, so that one decoding of a file
serves them all, and each has what it gave kept under its own name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from avrec.arrays import Vectors
from avrec.embed.describe.describer import Describer
from avrec.embed.encoder import EmbedConfig, Encoder, EncoderConfig, key_of, load_encoder
from avrec.ledger import Ledger
from avrec.media import fingerprint as prints
from avrec.media.decode import Clip
from avrec.media.sampling import Plan, Span
from avrec.media.thumbnail import thumbnail
from avrec.store import Place

TEXT = "text"
"""Plan of a producer that is shown texts."""
WHOLE = Span(0.0, 0.0)
"""Span of what a text says."""
KEYED = pa.field("sha256", pa.string())
VECTORS = pa.schema(
    [pa.field(name, pa.float64()) for name in ("start_seconds", "stop_seconds")]
    + [pa.field("vector", pa.list_(pa.float32()))]
)
"""Rows of an encoder: one a segment that it saw something in."""
PRINTS = pa.schema(
    [
        pa.field("frames", pa.list_(pa.uint64())),
        pa.field("frame_seconds", pa.list_(pa.float64())),
        pa.field("sound", pa.list_(pa.uint32())),
    ]
)
"""Rows of the fingerprints: one a content."""
PICTURES = pa.schema([pa.field("image", pa.binary())])
"""Rows of the thumbnails: one a content."""
Sight = Literal["frames", "sound", "clip", "text"]
Named = Sequence[tuple[str, Any]]
"""Contents by their SHA-256, each a Clip or a text."""


class Producer(Protocol):
    """Gives rows for some contents at a time."""

    on_gpu: bool

    def produce(self, contents: Named) -> pa.Table:
        """Rows of `keyed(schema)`, those of one content beside each other."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A producer by name, to be loaded where it is to work."""

    key: str
    """Name@revision."""
    plan_key: str
    """What it is shown: a Plan's key, or TEXT."""
    schema: pa.Schema
    """Columns that it gives."""
    sees: Sight
    """What of a content it looks at."""
    load: Callable[[], Producer]
    """Make it ready; may take a while."""
    pool: str = ""
    """Name of the actors that it works in; empty for those that decode."""

    def ledger(self, root: Place) -> Ledger:
        """Where its rows are kept."""
        return Ledger(root, self.key, self.plan_key, self.schema)


def keyed(schema: pa.Schema) -> pa.Schema:
    """Columns of a producer after the content's SHA-256."""
    return pa.schema([KEYED, *schema])


def embedding_producers(config: EmbedConfig, plan: Plan) -> tuple[Planned, ...]:
    """Encoders of a configuration, fingerprints and thumbnails."""
    encoders = [_encoder(one, plan) for one in config.encoders]
    extra = [fingerprints(plan)] if config.fingerprints else []
    extra += [thumbnails(plan)] if config.thumbnails else []
    return (*encoders, *extra)


def fingerprints(plan: Plan) -> Planned:
    """Fingerprints of frames and sound."""
    name = f"fingerprint@{prints.REVISION}"
    load = partial(PerClip, _print, PRINTS)
    return Planned(key=name, plan_key=plan.key, schema=PRINTS, sees="clip", load=load)


def thumbnails(plan: Plan) -> Planned:
    """Small pictures."""
    load = partial(PerClip, _picture, PICTURES)
    return Planned(key="thumbnail@1", plan_key=plan.key, schema=PICTURES, sees="clip", load=load)


class Encoding:
    """An encoder of segments or texts as a producer."""

    def __init__(self, encoder: Encoder[Any], *, on_gpu: bool = False) -> None:
        self.encoder, self.on_gpu = encoder, on_gpu

    @classmethod
    def of(cls, config: EncoderConfig) -> "Encoding":
        """Load an encoder."""
        return cls(load_encoder(config), on_gpu=not config.device.startswith("cpu"))

    def produce(self, contents: Named) -> pa.Table:
        """One row for each segment that the encoder sees something in."""
        seen = [
            (sha256, span, value)
            for sha256, content in contents
            for span, value in self._inputs(content)
            if len(value)
        ]
        if not seen:
            return keyed(VECTORS).empty_table()
        return _rows(seen, self.encoder.encode([value for _, _, value in seen]))

    def _inputs(self, content: Clip | str) -> list[tuple[Span, Any]]:
        if isinstance(content, str):
            return [(WHOLE, content)]
        of = content.frames_in if self.encoder.modality == "frames" else content.sound_in
        return [(span, of(span)) for span in content.spans]


class PerClip:
    """A function of one clip as a producer."""

    on_gpu = False

    def __init__(self, table_of: Callable[[Clip], pa.Table], schema: pa.Schema) -> None:
        self.table_of, self.schema = table_of, schema

    @classmethod
    def describing(cls, load: Callable[[], Describer], schema: pa.Schema) -> "PerClip":
        """Load a describer."""
        return cls(load().describe, schema)

    def produce(self, contents: Named) -> pa.Table:
        """Rows of each clip."""
        tables = [_with_key(sha256, self.table_of(clip)) for sha256, clip in contents]
        whole = keyed(self.schema)
        return pa.concat_tables([whole.empty_table(), *(table.cast(whole) for table in tables)])


def _encoder(config: EncoderConfig, plan: Plan) -> Planned:
    return Planned(
        key=key_of(config),
        plan_key=TEXT if config.modality == "text" else plan.key,
        schema=VECTORS,
        sees=config.modality,
        load=partial(Encoding.of, config),
        pool=config.pool,
    )


def _rows(seen: list[tuple[str, Span, Any]], vectors: Vectors) -> pa.Table:
    told = np.flatnonzero(vectors.any(axis=1))
    flat = pa.array(np.ascontiguousarray(vectors[told], np.float32).reshape(-1))
    offsets = pa.array(np.arange(len(told) + 1, dtype=np.int32) * vectors.shape[1])
    kept = [seen[row] for row in told]
    columns = [
        pa.array([sha256 for sha256, _, _ in kept], pa.string()),
        pa.array([span.start_seconds for _, span, _ in kept], pa.float64()),
        pa.array([span.stop_seconds for _, span, _ in kept], pa.float64()),
        pa.ListArray.from_arrays(offsets, flat).cast(VECTORS.field("vector").type),
    ]
    return pa.table(columns, schema=keyed(VECTORS))


def _print(clip: Clip) -> pa.Table:
    found = prints.fingerprint(clip)
    columns = [pa.array([getattr(found, field.name).tolist()], field.type) for field in PRINTS]
    return pa.table(columns, schema=PRINTS)


def _picture(clip: Clip) -> pa.Table:
    return pa.table([pa.array([thumbnail(clip)], pa.binary())], schema=PICTURES)


def _with_key(sha256: str, rows: pa.Table) -> pa.Table:
    return rows.add_column(0, KEYED, pa.array([sha256] * len(rows), pa.string()))
