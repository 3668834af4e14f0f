"""The actors of the extraction: one that decodes, and those of the pools behind it.

What passes from one to the next are rows of PASSED: contents that a later pool has yet to see,
and what an actor says of itself. Everything found goes straight to the ledger.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from avrec.distributed.attempts import Attempt
from avrec.distributed.clips import SENT, Decoders, Row, receive, send
from avrec.distributed.producers import Planned, keyed
from avrec.embed.stats import Tally
from avrec.errors import MediaError
from avrec.ledger import Failure
from avrec.media.decode import Clip
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.store import Place

if TYPE_CHECKING:
    from avrec.distributed.producers import Producer

SEGMENTS_AT_ONCE = 32
WRITE = "write"
FAULTS = (RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError, TypeError)
"""What a model raises over an input that it cannot take."""
WORK = pa.schema(
    [pa.field(name, pa.string()) for name in ("sha256", "uri", "text")]
    + [pa.field("missing", pa.list_(pa.int32()))]
)
"""One row a content; `missing` are the numbers of the producers that have not seen it."""
PASSED = pa.schema([*WORK, *SENT, pa.field("report", pa.string())])


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What an actor is told; small enough to send to any."""

    root: Place
    run: str
    """Name of this run."""
    pool: str
    """Name of the pool that it belongs to; empty for those that decode."""
    plan: Plan
    limits: Limits
    num_decoders: int
    producers: tuple[Planned, ...]
    """All of the run, by number."""
    needed: tuple[int, ...]
    """Numbers of the pool's own producers that any content is missing."""
    later: frozenset[int]
    """Numbers of the producers of the pools behind it."""


Content = tuple[str, list[int], Clip | str | MediaError]
"""SHA-256, numbers of the producers that have not seen it, and what it holds."""


@dataclass(slots=True)
class Gathered:
    """What came of some contents, for one producer."""

    tables: list[pa.Table] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class Worker:
    """An actor: it shows contents to its producers and writes what they give to the ledger."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.tally = stage, Tally()
        self.producers: dict[int, Producer] = {n: stage.producers[n].load() for n in stage.needed}
        self.decoders = None
        if not stage.pool:
            self.decoders = Decoders(stage.plan, stage.limits, stage.num_decoders, self.tally)
        self.busy = threading.Lock()
        self.ready = time.time()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Work on a block; gives rows of PASSED for the pools behind, and a report."""
        rows = batch.to_pylist()
        yield from (_passed(row) for row in rows if row.get("report"))
        block = [row for row in rows if not row.get("report")]
        if block:
            errors: Counter[str] = Counter()
            yield from self._worked(block, errors)
            yield _passed({"report": self._report(len(block), errors)})

    def _worked(self, block: list[Row], errors: Counter[str]) -> Iterator[pa.Table]:
        contents = [row["sha256"] for row in block]
        attempt = Attempt(self.stage.root, self.stage.run, self.stage.pool, contents)
        if attempt.careful:
            yield from self._one_by_one(block, attempt, errors)
        else:
            yield from self._together(block, attempt, errors)
        attempt.done()

    def _together(
        self, block: list[Row], attempt: Attempt, errors: Counter[str]
    ) -> Iterator[pa.Table]:
        gathered: dict[int, Gathered] = {}
        suspects: list[Content] = []
        for group in _groups(self._contents(block), SEGMENTS_AT_ONCE):
            try:
                self._show(group, gathered)
            except FAULTS:
                suspects += group
            yield from self._for_later(group)
        self._write(gathered, errors)
        for content in suspects:
            self._alone(content, attempt, errors)

    def _one_by_one(
        self, block: list[Row], attempt: Attempt, errors: Counter[str]
    ) -> Iterator[pa.Table]:
        for content in self._contents(block):
            self._alone(content, attempt, errors)
            yield from self._for_later([content])

    def _alone(self, content: Content, attempt: Attempt, errors: Counter[str]) -> None:
        """Show a content by itself, so that what happens is its own doing."""
        sha256, missing, _ = content
        gathered: dict[int, Gathered] = {}
        with self.busy:
            if attempt.given_up(sha256):
                told = MediaError("crashed", "it ended the worker that looked at it, each time")
                self._fail((sha256, self._mine(missing), told), gathered, "encode")
            else:
                attempt.begin(sha256)
                self._show_each(content, gathered)
                attempt.end(sha256)
        self._write(gathered, errors)

    def _show_each(self, content: Content, gathered: dict[int, Gathered]) -> None:
        sha256, missing, held = content
        if isinstance(held, MediaError):
            self._fail(content, gathered, "decode")
            return
        for number in self._mine(missing):
            try:
                self._produce(number, [(sha256, held)], gathered)
            except FAULTS as error:
                lines = str(error).strip().splitlines() or ["no reason given"]
                told = MediaError("crashed", f"{type(error).__name__}: {lines[0]}")
                key = self.stage.producers[number].key
                self._fail((sha256, [number], told), gathered, key)

    def _show(self, group: Sequence[Content], gathered: dict[int, Gathered]) -> None:
        """Show contents to every producer of ours that has not seen them."""
        made: dict[int, Gathered] = {}
        with self.busy:
            for number in self.stage.needed:
                mine = [
                    (sha256, held)
                    for sha256, missing, held in group
                    if number in missing and not isinstance(held, MediaError)
                ]
                if mine:
                    self._produce(number, mine, made)
        for content in group:
            if isinstance(content[2], MediaError):
                self._fail(content, made, "decode")
        for number, one in made.items():
            into = gathered.setdefault(number, Gathered())
            into.tables += one.tables
            into.contents += one.contents
            into.failures += one.failures

    def _produce(
        self, number: int, contents: list[tuple[str, Any]], gathered: dict[int, Gathered]
    ) -> None:
        producer, key = self.producers[number], self.stage.producers[number].key
        with self.tally.busy(key, on_gpu=producer.on_gpu):
            table = producer.produce(contents)
        self.tally.add(key, files=len(contents), bytes_out=table.nbytes)
        into = gathered.setdefault(number, Gathered())
        into.tables.append(table)
        into.contents += [sha256 for sha256, _ in contents]

    def _fail(self, content: Content, gathered: dict[int, Gathered], stage: str) -> None:
        """Note a failure for all producers, ours and later, that would have seen a content."""
        sha256, missing, error = content
        assert isinstance(error, MediaError)
        for number in missing:
            failure = Failure(sha256, stage, error.kind, error.message)
            gathered.setdefault(number, Gathered()).failures.append(failure)

    def _write(self, gathered: dict[int, Gathered], errors: Counter[str]) -> None:
        failed = {f.sha256: f.kind for one in gathered.values() for f in one.failures}
        errors.update(failed.values())
        with self.tally.busy(WRITE):
            for number, one in gathered.items():
                planned = self.stage.producers[number]
                rows = pa.concat_tables([keyed(planned.schema).empty_table(), *one.tables])
                planned.ledger(self.stage.root).write(rows, one.contents, one.failures)

    def _contents(self, block: list[Row]) -> Iterator[Content]:
        if self.decoders is None:
            yield from ((row["sha256"], row["missing"], _held(row)) for row in block)
            return
        yield from (_text(row) for row in block if row["text"] is not None)
        files = [row for row in block if row["text"] is None]
        for row, clip in self.decoders.decoded(files):
            yield row["sha256"], row["missing"], clip

    def _for_later(self, group: Iterable[Content]) -> Iterator[pa.Table]:
        for sha256, missing, held in group:
            later = [number for number in missing if number in self.stage.later]
            if later and not isinstance(held, MediaError):
                row = {"sha256": sha256, "missing": later}
                yield _passed(row | self._payload(held, later))

    def _payload(self, held: Clip | str, later: list[int]) -> dict[str, Any]:
        if isinstance(held, str):
            return {"text": held}
        seen = {self.stage.producers[number].sees for number in later}
        payload = send(held, frames=not seen <= {"sound"}, sound=not seen <= {"frames"})
        self.tally.add("send", bytes_out=len(payload["frames"]) + len(payload["waveform"]))
        return payload

    def _mine(self, missing: Iterable[int]) -> list[int]:
        return [number for number in missing if number in self.producers]

    def _report(self, contents: int, errors: Counter[str]) -> str:
        """What was done since the last; the first pool counts the contents, which all pass it."""
        if self.decoders is not None:
            self.decoders.count_children()
        told = {"ready": self.ready, "stages": self.tally.take(), "errors": errors}
        return json.dumps(told | {"contents": 0 if self.stage.pool else contents})


def _groups(contents: Iterable[Content], num_segments: int) -> Iterator[list[Content]]:
    """Gather contents until they have so many segments together."""
    group: list[Content] = []
    waiting = 0
    for content in contents:
        group.append(content)
        waiting += len(content[2].spans) if isinstance(content[2], Clip) else 1
        if waiting >= num_segments:
            yield group
            group, waiting = [], 0
    if group:
        yield group


def _text(row: Row) -> Content:
    return row["sha256"], row["missing"], row["text"]


def _held(row: Row) -> Clip | str:
    return row["text"] if row["text"] is not None else receive(row)


def _passed(row: Row) -> pa.Table:
    return pa.Table.from_pylist([dict(row)], schema=PASSED)
