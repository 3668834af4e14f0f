"""The tables that flow through avrec, each as one Arrow schema.

Ids are strings; times are UTC microseconds; spans are [start, stop) in seconds; ranks start at 1.
"""

import pyarrow as pa
import pyarrow.compute as pc

from avrec.errors import SchemaError

TIME = pa.timestamp("us", tz="UTC")


def _schema(required: dict[str, pa.DataType], optional: dict[str, pa.DataType]) -> pa.Schema:
    must = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    return pa.schema(must + [pa.field(name, kind) for name, kind in optional.items()])


ITEMS = _schema(
    {"item_id": pa.string(), "title": pa.string()},
    {
        "uri": pa.string(),
        "description": pa.string(),
        "tags": pa.list_(pa.string()),
        "creator_id": pa.string(),
        "language": pa.string(),
        "published_at": TIME,
        "age_rating": pa.string(),
        "regions": pa.list_(pa.string()),
    },
)
"""One row per catalogue entry."""

MEDIA = _schema(
    {"item_id": pa.string(), "uri": pa.string()},
    {
        "sha256": pa.string(),
        "kind": pa.string(),
        "duration_seconds": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "frames_per_second": pa.float64(),
        "sample_rate": pa.int32(),
        "channels": pa.int32(),
        "error": pa.string(),
    },
)
"""One row per probed file; `kind` is audio or video; `error` is `kind: message` or null."""

EMBEDDINGS = _schema(
    {
        "item_id": pa.string(),
        "encoder": pa.string(),
        "start_seconds": pa.float64(),
        "stop_seconds": pa.float64(),
        "vector": pa.list_(pa.float32()),
    },
    {},
)
"""One row per item x encoder (name@revision) x segment; vectors are as the encoder gives them."""

QUARANTINE = _schema(
    {
        "item_id": pa.string(),
        "uri": pa.string(),
        "stage": pa.string(),
        "kind": pa.string(),
        "message": pa.string(),
    },
    {"sha256": pa.string()},
)
"""One row per item x thing that could not be done with its file.

`stage` is `probe`, `decode`, `encode` or an encoder's name@revision; `kind` is that of MediaError.
"""

THUMBNAILS = _schema({"item_id": pa.string(), "image": pa.binary()}, {})
"""One row per item with media: a small JPEG."""

FINGERPRINTS = _schema(
    {
        "item_id": pa.string(),
        "frames": pa.list_(pa.uint64()),
        "frame_seconds": pa.list_(pa.float64()),
        "sound": pa.list_(pa.uint32()),
    },
    {},
)
"""One row per item with media: what it looks and sounds like, by `avrec.media.fingerprint`."""

DUPLICATE_KINDS = ("content", "frames and sound", "frames", "sound", "vectors")

DUPLICATES = _schema(
    {
        "item_id": pa.string(),
        "group": pa.string(),
        "kind": pa.string(),
        "similarity": pa.float32(),
    },
    {},
)
"""One row per item that has a near-duplicate, named by the `group`'s first: the one published
earliest, else the smallest id.

`kind`, the surest of DUPLICATE_KINDS that ties the item to another of its group, and `similarity`
in [0, 1], the highest of that kind.
"""

TRANSCRIPTS = _schema(
    {
        "item_id": pa.string(),
        "producer": pa.string(),
        "start_seconds": pa.float64(),
        "stop_seconds": pa.float64(),
        "text": pa.string(),
    },
    {"language": pa.string()},
)
"""One row per item x model (name@revision) x stretch of speech, with what is said in it."""

LABEL_KINDS = ("sound_event", "music", "frame_tag", "safety", "safety_mean")

SEGMENT_LABELS = _schema(
    {
        "item_id": pa.string(),
        "producer": pa.string(),
        "kind": pa.string(),
        "start_seconds": pa.float64(),
        "stop_seconds": pa.float64(),
        "label": pa.string(),
        "score": pa.float32(),
    },
    {},
)
"""One row per item x model (name@revision) x segment x label that fits; `score` is in [0, 1].

`kind` is one of LABEL_KINDS; a `safety` score is the largest of the segment's frames, and
`safety_mean` their mean.
"""

CAPTIONS = _schema(
    {
        "item_id": pa.string(),
        "producer": pa.string(),
        "start_seconds": pa.float64(),
        "stop_seconds": pa.float64(),
        "text": pa.string(),
    },
    {},
)
"""One row per item x model (name@revision) x stretch of pictures, with a sentence on them."""

DESCRIPTIONS = _schema(
    {"item_id": pa.string(), "producer": pa.string()},
    {
        "transcript": pa.string(),
        "language": pa.string(),
        "caption": pa.string(),
        "summary": pa.string(),
        "topics": pa.list_(pa.string()),
        "mood": pa.string(),
        "emotion": pa.string(),
        "audience": pa.string(),
        "safety": pa.list_(pa.string()),
        "reasons": pa.map_(pa.string(), pa.string()),
    },
)
"""One row per item: what was understood, and by which models@revision, joined by " + ".

`safety` lists what may harm, empty where nothing does and null where nobody looked. `reasons` says
of a field that should be there and is null why it is not.
"""

OPINIONS = _schema(
    {"item_id": pa.string(), "sha256": pa.string(), "producer": pa.string(), "count": pa.int32()},
    {
        "sentiment": pa.string(),
        "score": pa.float32(),
        "topics": pa.list_(pa.string()),
        "at": TIME,
        "rating": pa.float64(),
        "reasons": pa.map_(pa.string(), pa.string()),
    },
)
"""One row per item x text that people wrote of it, named by the SHA-256 of the text.

`count` says how often it was written, `at` when first, `rating` is the mean; `score` in [-1, 1]
rises with liking, and `sentiment` is negative, neutral or positive.
"""

RECEPTION = _schema(
    {"item_id": pa.string(), "producer": pa.string(), "num_opinions": pa.int32()},
    {
        "score": pa.float32(),
        "positive": pa.float32(),
        "negative": pa.float32(),
        "topics": pa.list_(pa.string()),
    },
)
"""One row per item that people wrote of: mean `score` of its opinions, the shares of those that
are positive and negative, and what they are about, the most frequent first."""

EVENT_KINDS = (
    "impression",
    "play",
    "progress",
    "skip",
    "complete",
    "like",
    "dislike",
    "share",
    "search",
    "rate",
    "hide",
)

EVENTS = _schema(
    {
        "event_id": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "kind": pa.string(),
        "at": TIME,
    },
    {"position_seconds": pa.float64(), "value": pa.float64(), "request_id": pa.string()},
)
"""One row per thing that a user did; `kind` is one of EVENT_KINDS."""

INTERACTIONS = _schema(
    {"user_id": pa.string(), "item_id": pa.string(), "weight": pa.float32(), "at": TIME},
    {"kind": pa.string(), "share": pa.float32()},
)
"""One row per (user, item) that a user took to, weighed by how much; `at` is the first time.

`kind`, of EVENT_KINDS, is what tells the most of it; `share`, in [0, 1], the most watched of it.
"""

USERS = _schema(
    {"user_id": pa.string(), "field": pa.string()},
    {"value": pa.string(), "number": pa.float64()},
)
"""One row per user x field of a profile that is known of them: a category's `value`, or a
`number`."""

FORGOTTEN = _schema({"user_id": pa.string(), "at": TIME}, {})
"""One row per user who asked to be forgotten: of what they did until `at`, nothing may be used."""

LABELS = _schema(
    {"user_id": pa.string(), "item_id": pa.string(), "at": TIME, "label": pa.float32()},
    {"request_id": pa.string()},
)
"""One row per impression; `label` in [0, 1] is what became of it, mostly the share watched."""

DROPPED = _schema({"reason": pa.string(), "rows": pa.int64()}, {"example": pa.string()})
"""One row per reason for which rows were left out."""

CANDIDATES = _schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "source": pa.string(),
        "score": pa.float32(),
    },
    {},
)
"""One row per user x item proposed."""

RECOMMENDATIONS = _schema(
    {
        "request_id": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "rank": pa.int32(),
        "score": pa.float32(),
        "propensity": pa.float32(),
        "policy": pa.string(),
        "model": pa.string(),
        "at": TIME,
    },
    {"reason": pa.string()},
)
"""One row per item shown."""

METRICS = _schema(
    {
        "model": pa.string(),
        "split": pa.string(),
        "metric": pa.string(),
        "k": pa.int32(),
        "value": pa.float64(),
        "num_users": pa.int64(),
    },
    {"low": pa.float64(), "high": pa.float64()},
)
"""One row per number reported; [low, high] is its 95 % bootstrap interval over users."""


TRIALS = _schema(
    {
        "trial": pa.string(),
        "setting": pa.string(),
        "metric": pa.string(),
        "k": pa.int32(),
        "rounds": pa.int32(),
        "stopped_early": pa.bool_(),
        "seconds": pa.float64(),
    },
    {"value": pa.float64(), "error": pa.string()},
)
"""One row per setting tried; `setting` is JSON, `value` is the metric when last judged, after
so many `rounds`, which are the epochs of a model that has them."""


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return `table` with exactly the columns of `schema`, in its order.

    A missing nullable column is filled with nulls.

    Raises:
        SchemaError: a column is missing, cannot be cast, or holds nulls it may not.
    """
    if table.schema.equals(schema) and not _forbidden_nulls(table):
        return table
    columns, faults = [], []
    for field in schema:
        try:
            columns.append(_column(table, field))
        except SchemaError as error:
            faults.append(str(error))
    if faults:
        raise SchemaError("; ".join(faults))
    return pa.table(columns, schema=schema)


def _forbidden_nulls(table: pa.Table) -> bool:
    pairs = zip(table.schema, table.columns, strict=True)
    return any(column.null_count for field, column in pairs if not field.nullable)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        if field.nullable:
            return pa.chunked_array([pa.nulls(len(table), field.type)])
        raise SchemaError(f"no column {field.name!r}; there are {table.column_names}")
    if table.column_names.count(field.name) > 1:
        raise SchemaError(f"column {field.name!r} is there more than once")
    column = table[field.name]
    if column.null_count and not field.nullable:
        raise SchemaError(f"{field.name!r} has {column.null_count} nulls")
    try:
        return column if column.type == field.type else pc.cast(column, field.type)
    except pa.ArrowException as error:
        raise SchemaError(f"{field.name!r} is {column.type}, expected {field.type}") from error


def empty(schema: pa.Schema) -> pa.Table:
    """Make a table of no rows."""
    return schema.empty_table()
