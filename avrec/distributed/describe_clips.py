"""Describe clips with a pool of actors, each with every describer and a decoding child.

What a describer finds in a content is kept in the ledger, under the describer, the plan by which
the clip was decoded, and the SHA-256 of the file. A rerun decodes only files that some describer
has not seen; a new describer sees them all, the others none again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import ActorPoolStrategy

from avrec.distributed.probe import sliced
from avrec.embed.describe.captions import Captioner
from avrec.embed.describe.config import DescribeConfig, SignalConfig
from avrec.embed.describe.describer import Describer, found, key
from avrec.embed.describe.language_config import CaptionsConfig
from avrec.embed.describe.loading import load_describers
from avrec.embed.weights import digest
from avrec.errors import MediaError
from avrec.ledger import FAILURES, Failure, Ledger
from avrec.media.decode import Clip
from avrec.media.fetch import local_copy
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.media.sandbox import Sandbox
from avrec.schema import CAPTIONS, SEGMENT_LABELS, TRANSCRIPTS, conform
from avrec.store import Place

FILES_PER_BATCH = 8
TABLES = {"transcripts": TRANSCRIPTS, "segment_labels": SEGMENT_LABELS, "captions": CAPTIONS}
"""What describers give, and under which name it is kept."""
_KEPT = pa.schema([pa.field(name, pa.string()) for name in ("producer", "table")])


class Found(NamedTuple):
    """What describers found: tables by their name in TABLES, and FAILURES by content."""

    tables: dict[str, pa.Table]
    failures: pa.Table


def describers_of(config: DescribeConfig) -> list[Describer]:
    """Load every describer that has a model.

    Raises:
        InputError: a model is absent, or none of its kind.
    """
    captioners = [Captioner(config.captions)] if config.captions.model else []
    return [*load_describers(config), *captioners]


class _ClipDescriber:
    def __init__(self, config: DescribeConfig, plan: Plan, limits: Limits, root: Place) -> None:
        self.plan, self.limits, self.sandbox = plan, limits, Sandbox(limits)
        self.describers = describers_of(config)
        self.ledgers = [ledger_of(key(one), plan, one.schema, root) for one in self.describers]
        self.finished = [ledger.finished() for ledger in self.ledgers]

    def __call__(self, files: pa.Table) -> pa.Table:
        """Describe a block of files, one a content; gives the names of what keeps the rows."""
        clips = {row["sha256"]: self._decoded(row) for row in files.to_pylist()}
        for number, describer in enumerate(self.describers):
            missing = [one for one in clips if one not in self.finished[number]]
            self._describe(describer, self.ledgers[number], {one: clips[one] for one in missing})
        rows = [
            {"producer": key(one), "table": next(n for n, s in TABLES.items() if s == one.schema)}
            for one in self.describers
        ]
        return pa.Table.from_pylist(rows, schema=_KEPT)

    def _describe(
        self, describer: Describer, ledger: Ledger, clips: Mapping[str, Clip | MediaError | None]
    ) -> None:
        seen = {sha256: clip for sha256, clip in clips.items() if isinstance(clip, Clip)}
        whole = pa.schema([pa.field("sha256", pa.string()), *ledger.schema])
        tables = [_keyed(one, describer.describe(clip)).cast(whole) for one, clip in seen.items()]
        failures = [
            Failure(sha256, "decode", error.kind, str(error))
            for sha256, error in clips.items()
            if isinstance(error, MediaError)
        ]
        ledger.write(pa.concat_tables([whole.empty_table(), *tables]), seen, failures)

    def _decoded(self, row: Mapping[str, Any]) -> Clip | MediaError | None:
        """Decode a file, or say why not; None where every describer has seen it."""
        if all(row["sha256"] in done for done in self.finished):
            return None
        try:
            with local_copy(row["uri"], self.limits) as path:
                return self.sandbox.decode(path, self.plan)
        except MediaError as error:
            return error


def describe_clips(
    media: pa.Table,
    config: DescribeConfig,
    plan: Plan,
    limits: Limits,
    root: Place,
    num_actors: int,
) -> Found:
    """Describe every readable file of MEDIA with every describer that has a model.

    The tables are of items: two with the same content have the same rows.
    """
    readable = media.filter(pc.and_(pc.is_null(media["error"]), pc.is_valid(media["sha256"])))
    first = readable.group_by("sha256", use_threads=False).aggregate([("uri", "first")])
    files = first.rename_columns(["sha256", "uri"])
    if not len(files) or not has_models(config):
        return Found({}, FAILURES.empty_table())
    blocks = sliced(files, FILES_PER_BATCH)
    answers = ray.data.from_blocks(blocks).map_batches(
        _ClipDescriber,
        fn_constructor_args=(config, plan, limits, root),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(size=min(num_actors, len(blocks))),
        num_cpus=1,
    )
    kept = {(row["table"], row["producer"]) for row in answers.iter_rows()}
    return _found(sorted(kept), readable.select(["item_id", "sha256"]), plan, root)


def has_models(config: DescribeConfig) -> bool:
    """Tell whether any describer of clips has a model."""
    return any(section.model for section in _sections(config))


def models_of(config: DescribeConfig) -> dict[str, str]:
    """Folders and hub ids of all models that a configuration names, each with its digest.

    Raises:
        InputError: one is a path, and there is no such folder.
    """
    sections = (*_sections(config), config.language)
    named = [getattr(one, name, "") for one in sections for name in ("model", "words_model")]
    return {model: digest(model) for model in named if model}


def ledger_of(producer: str, plan: Plan, schema: pa.Schema, root: Place) -> Ledger:
    """Where a describer's rows are kept, beside contents of which there are none."""
    columns = pa.schema([field.with_nullable(True) for field in found(schema)])
    return Ledger(root, producer, plan.key, columns)


def _sections(config: DescribeConfig) -> tuple[CaptionsConfig | SignalConfig, ...]:
    return config.speech, config.sounds, config.frames, config.safety, config.captions


def _found(kept: Sequence[tuple[str, str]], contents: pa.Table, plan: Plan, root: Place) -> Found:
    tables = {name: [schema.empty_table()] for name, schema in TABLES.items()}
    failures = [FAILURES.empty_table()]
    for name, producer in kept:
        ledger = ledger_of(producer, plan, TABLES[name], root)
        tables[name] += [
            _of_items(part, contents, producer, TABLES[name]) for part in ledger.tables()
        ]
        failures.append(ledger.failures())
    failed = pa.concat_tables(failures).group_by(FAILURES.names).aggregate([])
    mine = pc.is_in(failed["sha256"], value_set=contents["sha256"].combine_chunks())
    order = [("item_id", "ascending"), ("producer", "ascending"), ("start_seconds", "ascending")]
    return Found(
        {name: pa.concat_tables(parts).sort_by(order) for name, parts in tables.items()},
        failed.filter(mine).sort_by("sha256"),
    )


def _of_items(part: pa.Table, contents: pa.Table, producer: str, schema: pa.Schema) -> pa.Table:
    """Rows of contents as rows of the items that have them."""
    joined = part.join(contents, "sha256", join_type="inner")
    named = joined.append_column("producer", pa.array([producer] * len(joined), pa.string()))
    return conform(named, schema)


def _keyed(sha256: str, rows: pa.Table) -> pa.Table:
    return rows.add_column(0, "sha256", pa.array([sha256] * len(rows), pa.string()))
