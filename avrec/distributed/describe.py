"""Read texts with a pool of actors that each hold the language model.

A text is named by its SHA-256. What was read is kept in the ledger, so that a rerun reads only
what is missing, and a text that many items share is read once.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import ActorPoolStrategy

from avrec.distributed.probe import sliced
from avrec.embed.describe import language, opinions
from avrec.embed.describe.chat_model import ChatModel
from avrec.embed.describe.config import DescribeConfig
from avrec.embed.describe.known import known_of
from avrec.embed.describe.language import ANSWERS, Known
from avrec.embed.describe.safety import flags
from avrec.ledger import Ledger
from avrec.schema import DESCRIPTIONS, SEGMENT_LABELS, conform
from avrec.store import Place

TEXT = "text"
"""Plan of a producer that is shown texts."""
KEYED = pa.field("sha256", pa.string())


class _Reader:
    """Loads the model, reads batches of texts, and writes what it read to the ledger."""

    def __init__(self, config: DescribeConfig, ledger: Ledger) -> None:
        model = ChatModel(config.language)
        self.ledger = ledger
        self.read = (
            language.Language(config.language, model).read
            if ledger.schema.equals(ANSWERS)
            else opinions.Opinions(config.opinions, model).read
        )

    def __call__(self, texts: pa.Table) -> pa.Table:
        keys = texts["sha256"].to_pylist()
        rows = [
            {"sha256": key} | self.read(text)
            for key, text in zip(keys, texts["text"].to_pylist(), strict=True)
        ]
        schema = pa.schema([KEYED, *self.ledger.schema])
        self.ledger.write(pa.Table.from_pylist(rows, schema=schema), keys)
        return pa.table({"texts": [len(keys)]})


def describe_texts(
    items: pa.Table,
    found: Mapping[str, pa.Table],
    config: DescribeConfig,
    root: Place,
) -> pa.Table:
    """Read what is known of every item and return DESCRIPTIONS, sorted by item_id.

    Args:
        items: ITEMS.
        found: `transcripts`, `segment_labels` and `captions`, as far as there are any.
        config: section `[describe]`; without a language model only what was found is told.
        root: where the ledger lies.
    """
    known = known_of(items, found)
    answers = ANSWERS_BY_KEY.empty_table()
    if config.language.model:
        texts = {one.key: one.text for one in known.values()}
        ledger = Ledger(root, language.producer(config.language), TEXT, ANSWERS)
        answers = _read_all(texts, ledger, config)
    producers = _producers(found, config)
    harm = flags(
        found.get("segment_labels", SEGMENT_LABELS.empty_table()), config.safety.thresholds
    )
    return _descriptions(known, answers, harm, producers)


def describe_opinions(config: DescribeConfig, root: Place) -> pa.Table:
    """Read the comments that the configuration names and return OPINIONS."""
    distinct = opinions.comments(config.opinions)
    texts = dict(zip(distinct["sha256"].to_pylist(), distinct["text"].to_pylist(), strict=True))
    producer = opinions.producer(config.language, config.opinions)
    ledger = Ledger(root, producer, TEXT, opinions.READ)
    return opinions.joined(distinct, _read_all(texts, ledger, config), producer)


ANSWERS_BY_KEY = pa.schema([KEYED, *ANSWERS])


def _read_all(texts: Mapping[str, str], ledger: Ledger, config: DescribeConfig) -> pa.Table:
    """Read the texts that the ledger lacks, and return what it has of all of them."""
    missing = sorted(texts.keys() - ledger.finished())
    if missing:
        _read_missing({key: texts[key] for key in missing}, ledger, config)
    wanted = pa.array(sorted(texts), pa.string())
    schema = pa.schema([KEYED, *ledger.schema])
    mine = [part.filter(pc.is_in(part["sha256"], value_set=wanted)) for part in ledger.tables()]
    return pa.concat_tables([schema.empty_table(), *(conform(part, schema) for part in mine)])


def _read_missing(texts: Mapping[str, str], ledger: Ledger, config: DescribeConfig) -> None:
    pool = config.language
    rows = pa.table(
        {
            "sha256": pa.array(list(texts), pa.string()),
            "text": pa.array(list(texts.values()), pa.string()),
        }
    )
    blocks = sliced(rows, pool.items_per_batch)
    ray.data.from_blocks(blocks).map_batches(
        _Reader,
        fn_constructor_args=(config, ledger),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=min(pool.num_actors, len(blocks))),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
    ).materialize()


def _producers(found: Mapping[str, pa.Table], config: DescribeConfig) -> str:
    reader = language.producer(config.language) if config.language.model else ""
    names = {name for table in found.values() for name in table["producer"].unique().to_pylist()}
    return " + ".join([*sorted(names), *filter(None, [reader])])


def _descriptions(
    known: Mapping[str, Known],
    answers: pa.Table,
    harm: Mapping[str, list[str]],
    producer: str,
) -> pa.Table:
    by_key = {row["sha256"]: row for row in answers.to_pylist()}
    rows: list[dict[str, Any]] = [
        by_key.get(one.key, {})
        | {name: getattr(one, name) or None for name in ("transcript", "language", "caption")}
        | {"item_id": item_id, "producer": producer}
        for item_id, one in sorted(known.items())
    ]
    for row in rows:
        read, seen = row.get("safety"), harm.get(row["item_id"])
        row["safety"] = read if seen is None else sorted({*(read or ()), *seen})
    return pa.Table.from_pylist(rows, schema=DESCRIPTIONS)
