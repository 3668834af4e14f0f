"""From clips, texts and comments to tables of what is in them.

Describers of clips, and a language model that reads texts, are producers of the extraction: what
each finds is kept by content in the ledger, so a rerun does what is missing, a new describer sees
every file once, and equal files, texts and comments are looked at once.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from avrec.distributed.embed import Owned, contents_of, of_items
from avrec.distributed.embed import plan as plan_of
from avrec.distributed.extract import CONTENTS, Extraction, Pool, extract
from avrec.distributed.producers import TEXT, Named, PerClip, Planned, keyed
from avrec.embed.describe import language, opinions
from avrec.embed.describe.config import DescribeConfig
from avrec.embed.describe.describer import found
from avrec.embed.describe.known import known_of
from avrec.embed.describe.language import ANSWERS, Known
from avrec.embed.describe.loading import SCHEMAS, key_of, load_describer, sections
from avrec.embed.describe.safety import flags
from avrec.embed.encoder import EmbedConfig
from avrec.embed.stats import Report
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.schema import CAPTIONS, DESCRIPTIONS, SEGMENT_LABELS, TRANSCRIPTS, conform
from avrec.store import Place

TABLES = {"transcripts": TRANSCRIPTS, "segment_labels": SEGMENT_LABELS, "captions": CAPTIONS}
"""What is found in clips, by the name of the artifact."""
Read = Callable[[str], Mapping[str, Any]]


class Reading:
    """A language model that reads texts, as a producer."""

    def __init__(self, read: Read, schema: pa.Schema, *, on_gpu: bool) -> None:
        self.read, self.schema, self.on_gpu = read, schema, on_gpu

    @classmethod
    def of_items(cls, config: DescribeConfig) -> "Reading":
        """Load what reads what is known of items."""
        on_gpu = not config.language.device.startswith("cpu")
        return cls(language.Language(config.language).read, ANSWERS, on_gpu=on_gpu)

    @classmethod
    def of_comments(cls, config: DescribeConfig) -> "Reading":
        """Load what reads comments."""
        from avrec.embed.describe.chat_model import ChatModel  # noqa: PLC0415 -- takes seconds

        reader = opinions.Opinions(config.opinions, ChatModel(config.language))
        on_gpu = not config.language.device.startswith("cpu")
        return cls(reader.read, opinions.READ, on_gpu=on_gpu)

    def produce(self, contents: Named) -> pa.Table:
        """One row a text."""
        rows = [{"sha256": sha256, **self.read(text)} for sha256, text in contents]
        return pa.Table.from_pylist(rows, schema=keyed(self.schema))


def producers_of(config: DescribeConfig) -> dict[str, str]:
    """Who describes what, by section; empty where no section has a model.

    Raises:
        InputError: a model is a path of nothing.
    """
    told = {section: key_of(section, config) for section in sections(config)}
    if config.language.model:
        told["language"] = language.producer(config.language)
    return told


def clip_extraction(
    config: DescribeConfig, embedding: EmbedConfig, limits: Limits, root: Place
) -> Extraction:
    """How clips are described: by every describer that has a model, in one decoding.

    Clips are decoded as for embedding, by as many actors.
    """
    plan = plan_of(embedding)
    return Extraction(
        root=root,
        plan=plan,
        limits=limits,
        producers=tuple(_of_clips(section, config, plan) for section in sections(config)),
        pools={"": Pool(embedding.num_actors, embedding.num_cpus, embedding.num_gpus)},
        num_decoders=embedding.num_decoders,
        files_per_block=embedding.files_per_batch,
    )


def describe_clips(of: Owned, how: Extraction) -> tuple[dict[str, pa.Table], Report]:
    """Describe the files of a catalogue; gives TABLES of its items and where the time went."""
    report = extract(contents_of(of.files), how)
    tables = {name: [schema.empty_table()] for name, schema in TABLES.items()}
    for planned in how.producers:
        name = next(n for n, schema in TABLES.items() if _kept(schema) == planned.schema)
        for part in of_items(of, how, planned):
            producer = pa.array([planned.key] * len(part), pa.string())
            tables[name].append(conform(part.append_column("producer", producer), TABLES[name]))
    order = [("item_id", "ascending"), ("producer", "ascending"), ("start_seconds", "ascending")]
    return {name: pa.concat_tables(parts).sort_by(order) for name, parts in tables.items()}, report


def describe_items(
    items: pa.Table, seen: Mapping[str, pa.Table], config: DescribeConfig, how: Extraction
) -> pa.Table:
    """Read what is known of every item and return DESCRIPTIONS, sorted by item_id.

    Args:
        items: ITEMS.
        seen: what `describe_clips` gave.
        config: section `[describe]`; without a language model only what was found is told.
        how: of `text_extraction`.
    """
    known = known_of(items, seen)
    answers: dict[str, dict[str, Any]] = {}
    unread: dict[str, Any] = {}
    if config.language.model:
        unread = {"reasons": [(name, "crashed") for name in language.FIELDS[:-1]]}
        texts = {one.key: one.text for one in known.values()}
        answers = {row["sha256"]: row for row in _read_all(texts, how).to_pylist()}
    harm = flags(seen["segment_labels"], config.safety.thresholds)
    names = {name for table in seen.values() for name in table["producer"].unique().to_pylist()}
    reader = [language.producer(config.language)] if config.language.model else []
    rows = [
        _description(item_id, one, answers.get(one.key, unread), harm.get(item_id))
        | {"producer": " + ".join([*sorted(names), *reader])}
        for item_id, one in sorted(known.items())
    ]
    return pa.Table.from_pylist(rows, schema=DESCRIPTIONS)


def describe_comments(config: DescribeConfig, how: Extraction) -> pa.Table:
    """Read the comments that the configuration names and return OPINIONS."""
    distinct = opinions.comments(config.opinions)
    texts = dict(zip(distinct["sha256"].to_pylist(), distinct["text"].to_pylist(), strict=True))
    producer = opinions.producer(config.language, config.opinions)
    return opinions.joined(distinct, _read_all(texts, how), producer)


def text_extraction(
    config: DescribeConfig, clips: Extraction, *, of_comments: bool = False
) -> Extraction:
    """How texts are read: what is known of items, or comments."""
    key = language.producer(config.language)
    load, schema = Reading.of_items, ANSWERS
    if of_comments:
        key = opinions.producer(config.language, config.opinions)
        load, schema = Reading.of_comments, opinions.READ
    reader = Planned(key=key, plan_key=TEXT, schema=schema, sees="text", load=partial(load, config))
    pool = Pool(config.language.num_actors, config.language.num_cpus, config.language.num_gpus)
    return Extraction(
        root=clips.root,
        plan=clips.plan,
        limits=clips.limits,
        producers=(reader,),
        pools={"": pool},
        texts_per_block=config.language.items_per_batch,
    )


def _of_clips(section: str, config: DescribeConfig, plan: Plan) -> Planned:
    schema = _kept(SCHEMAS[section])
    load = partial(load_describer, section, config)
    return Planned(
        key=key_of(section, config),
        plan_key=plan.key,
        schema=schema,
        sees="clip",
        load=partial(PerClip.describing, load, schema),
    )


def _kept(schema: pa.Schema) -> pa.Schema:
    """What of a table the ledger keeps, where contents without a row have nulls."""
    return pa.schema([field.with_nullable(True) for field in found(schema)])


def _read_all(texts: Mapping[str, str], how: Extraction) -> pa.Table:
    """Read the texts that the ledger lacks, and return what it has of all of them."""
    columns = {"sha256": pa.array(list(texts), pa.string())}
    columns["text"] = pa.array(list(texts.values()), pa.string())
    extract(conform(pa.table(columns), CONTENTS), how)
    (reader,) = how.producers
    parts = [part.cast(keyed(reader.schema)) for part in reader.ledger(how.root).tables()]
    table = pa.concat_tables([keyed(reader.schema).empty_table(), *parts])
    return table.filter(pc.is_in(table["sha256"], value_set=columns["sha256"]))


def _description(
    item_id: str, known: Known, answer: dict[str, Any], harm: list[str] | None
) -> dict[str, Any]:
    row = {name: getattr(known, name) or None for name in ("transcript", "language", "caption")}
    row |= {"item_id": item_id} | answer
    if harm is not None:
        row["safety"] = sorted({*(row.get("safety") or ()), *harm})
    return row
