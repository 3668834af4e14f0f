"""Show every content to every producer that has not seen it, on Ray Data.

    contents --> actors that decode --> pool --> pool     each writes what it finds to the ledger

A file is decoded once for all producers that miss it. Those without a pool of their own work where
it was decoded, so that frames never leave the actor; the decoding children are at the next files
meanwhile. For the others the clip passes from pool to pool through Ray's object store, in small
blocks that Ray Data holds back where a pool is slow.

Whatever is killed in the middle, the ledger has what was finished, and the next run begins there.
Within a run, Ray starts a dead actor again with the block that it had; what got lost all the same
is shown again, until nothing is missing.
"""

import json
import logging
import math
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import ActorPoolStrategy, Dataset

from avrec.distributed.attempts import clear
from avrec.distributed.clips import FETCH
from avrec.distributed.meters import Meters
from avrec.distributed.probe import sliced
from avrec.distributed.producers import Planned
from avrec.distributed.stages import WORK, WRITE, Stage, Worker
from avrec.embed.stats import DECODE, HOUR, Lane, Report
from avrec.errors import InputError
from avrec.log import pairs
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.store import Place

logger = logging.getLogger(__name__)
BLOCK_BYTES = 32 << 20
CALLS_AT_ONCE = 2
"""Blocks that an actor is at: the files of the second are decoded while the first is finished."""
ROUNDS = 3
LOG_SECONDS = 10.0
CONTENTS = pa.schema([field for field in WORK if field.name != "missing"])
"""One row a content: where its file is, or else its text."""


class Pool(NamedTuple):
    """How many actors, and what each takes."""

    num_actors: int
    num_cpus: float
    num_gpus: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """What is looked at by whom, and where."""

    root: Place
    """Root of the workspace, below which the ledger lies."""
    plan: Plan
    """What is taken from every clip."""
    limits: Limits
    """What one file may cost."""
    producers: tuple[Planned, ...]
    """Who looks at clips and texts."""
    pools: Mapping[str, Pool]
    """Pools by name; the empty name is of those that decode."""
    num_decoders: int = 1
    """Decoding children of each actor that decodes."""
    files_per_block: int = 16
    """Files whose results are written as one part."""
    texts_per_block: int = 512
    """The same, of texts."""
    run: str = field(default_factory=lambda: secrets.token_hex(6))
    """Name of this run."""


def extract(contents: pa.Table, how: Extraction) -> Report:
    """Fill the ledger with what the producers find in CONTENTS, and say where the time went.

    Raises:
        InputError: a producer failed on everything that it was shown.
    """
    clear(how.root)
    report = Report(_lanes(how))
    missing = _missing(contents, how, again=True)
    for _ in range(ROUNDS):
        if not len(missing):
            break
        logger.info("missing %s", pairs(**_kinds(missing), of=len(contents)))
        _run(missing, how, report)
        missing = _missing(contents, how, again=False)
    if len(missing):
        raise InputError(f"{len(missing)} contents were lost on the way {ROUNDS} times; run again")
    for planned in how.producers:
        planned.ledger(how.root).compact()
    _check(how)
    return report


def _missing(contents: pa.Table, how: Extraction, *, again: bool) -> pa.Table:
    """WORK of the contents that some producer has not seen.

    Args:
        contents: CONTENTS.
        how: the producers.
        again: whether a failure that may pass counts as not seen.
    """
    lists: list[list[int]] = [[] for _ in range(len(contents))]
    of_texts = pc.is_valid(contents["text"]).to_pylist()
    keys = contents["sha256"].to_pylist()
    for number, planned in enumerate(how.producers):
        ledger = planned.ledger(how.root)
        seen = ledger.finished() if again else ledger.tried()
        for row, key in enumerate(keys):
            if of_texts[row] == (planned.sees == "text") and key not in seen:
                lists[row].append(number)
    rows = [row for row, numbers in enumerate(lists) if numbers]
    column = pa.array([lists[row] for row in rows], WORK.field("missing").type)
    return contents.take(pa.array(rows, pa.int64())).append_column(WORK.field("missing"), column)


def _run(missing: pa.Table, how: Extraction, report: Report) -> None:
    """Send the contents through the actors."""
    progress = _Progress(report, len(missing))
    for block in _passed(missing, how).iter_batches(batch_size=None, batch_format="pyarrow"):
        for told in block["report"].drop_null().to_pylist():
            progress.hear(json.loads(told))
    progress.end()


def _passed(missing: pa.Table, how: Extraction) -> Dataset:
    needed = sorted(set(pc.list_flatten(missing["missing"]).to_pylist()))
    stages = _stages(needed, how)
    blocks = _blocks(missing, how)
    _warn_of_room([how.pools[stage.pool] for stage in stages])
    passed = ray.data.from_blocks(blocks)
    passed.context.target_max_block_size = BLOCK_BYTES
    for stage in stages:
        pool = how.pools[stage.pool]
        passed = passed.map_batches(
            Worker,
            fn_constructor_args=(stage,),
            batch_format="pyarrow",
            batch_size=None,
            compute=ActorPoolStrategy(
                size=min(pool.num_actors, len(blocks)),
                max_concurrent_calls_per_actor=CALLS_AT_ONCE,
                enable_true_multi_threading=True,
            ),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
        )
    return passed


def _stages(needed: list[int], how: Extraction) -> list[Stage]:
    """The actors that decode, then each pool that has something to do."""
    pool_of = {number: how.producers[number].pool for number in needed}
    names = ["", *sorted(set(pool_of.values()) - {""})]
    return [
        Stage(
            root=how.root,
            run=how.run,
            pool=name,
            plan=how.plan,
            limits=how.limits,
            num_decoders=how.num_decoders,
            producers=how.producers,
            needed=tuple(number for number in needed if pool_of[number] == name),
            later=frozenset(n for n in needed if names.index(pool_of[n]) > names.index(name)),
        )
        for name in names
    ]


def _blocks(missing: pa.Table, how: Extraction) -> list[pa.Table]:
    texts = missing.filter(pc.is_valid(missing["text"]))
    files = missing.filter(pc.is_null(missing["text"]))
    return sliced(files, how.files_per_block) + sliced(texts, how.texts_per_block)


def _warn_of_room(pools: list[Pool]) -> None:
    there = ray.cluster_resources()
    for name, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        wanted = sum(pool.num_actors * getattr(pool, name) for pool in pools)
        if len(pools) > 1 and wanted > there.get(kind, 0.0):
            logger.warning(
                "actors wait for a larger cluster, or lower num_actors: %s",
                pairs(kind=kind, wanted=wanted, there=there.get(kind, 0.0)),
            )


def _lanes(how: Extraction) -> dict[str, Lane]:
    """Whose time each stage takes."""
    decoding = how.pools[""].num_actors
    children = Lane("decoders", decoding * how.num_decoders)
    lanes = {FETCH: children, DECODE: children, WRITE: Lane("actors", decoding)}
    for planned in how.producers:
        name = f"pool {planned.pool}" if planned.pool else "actors"
        lanes[planned.key] = Lane(name, how.pools[planned.pool].num_actors)
    return lanes


def _check(how: Extraction) -> None:
    for planned in how.producers:
        outcomes = planned.ledger(how.root).outcomes()["outcome"]
        if len(outcomes) and pc.all(pc.equal(outcomes, "crashed")).as_py():
            why = planned.ledger(how.root).failures()["message"][0].as_py()
            raise InputError(f"{planned.key} failed on all that it was shown: {why}")


class _Progress:
    """Adds up what the actors report, and logs it now and then."""

    def __init__(self, report: Report, total: int) -> None:
        self.report, self.meters = report, Meters()
        self.total, self.done = total, 0
        self.start = time.time()
        self.first: float | None = None
        self.before, self.logged = report.wall_seconds, time.monotonic()

    def hear(self, told: dict[str, Any]) -> None:
        """Take in a report of one actor."""
        self.first = min(told["ready"], self.first or told["ready"])
        self.done += told["contents"]
        self.report.add(told["stages"], told["errors"])
        self.meters.add(told["stages"], told["errors"])
        self._measure()
        if time.monotonic() - self.logged >= LOG_SECONDS:
            self.logged = time.monotonic()
            logger.info("extracting %s", pairs(**self._so_far(), **_line(self.report)))

    def end(self) -> None:
        """Note how long it took."""
        self._measure()
        if self.first is not None:
            self.report.start_seconds += max(0.0, self.first - self.start)

    def _so_far(self) -> dict[str, object]:
        spent = time.time() - (self.first or self.start)
        left = spent * (self.total - self.done) / self.done if self.done else math.nan
        return {"done": self.done, "of": self.total, "minutes_left": round(left / 60, 1)}

    def _measure(self) -> None:
        self.report.wall_seconds = self.before + max(0.0, time.time() - (self.first or self.start))


def log_end(report: Report) -> None:
    """Log what a run did, which stage the others waited for, and what an hour of media cost."""
    if not report.stages:
        return
    logger.info("extracted %s", pairs(**_line(report)))
    cost = {name: round(value, 1) for name, value in report.cost_per_media_hour().items()}
    logger.info("cost of a media hour %s", pairs(**cost))
    logger.info("the others wait for %s", pairs(stage=report.bottleneck()))


def _kinds(contents: pa.Table) -> dict[str, int]:
    texts = len(contents) - contents["text"].null_count
    return {"files": len(contents) - texts, "texts": texts}


def _line(report: Report) -> dict[str, object]:
    seconds = report.wall_seconds or np.inf
    busy = {stage: f"{report.busy_share(stage):.0%}" for stage in report.stages}
    return {
        "files": int(report.decoded("files")),
        "files_per_second": report.decoded("files") / seconds,
        "media_hours_per_second": report.decoded("media_seconds") / HOUR / seconds,
        "errors": sum(report.errors.values()),
        "busy": ",".join(f"{stage}:{share}" for stage, share in busy.items()),
    }


def quarantined(how: Extraction) -> Iterator[pa.Table]:
    """FAILURES of every producer."""
    for planned in how.producers:
        yield planned.ledger(how.root).failures()
