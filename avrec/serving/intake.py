"""From posted events to durable ones: each accepted, known already, or refused with a reason."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from avrec.checks import FAULTS
from avrec.errors import AvrecError
from avrec.schema import EVENTS
from avrec.serving.lane import Lane, release, settle
from avrec.serving.messages import Event, Receipt, Verdict
from avrec.serving.models import Models
from avrec.serving.service import Service

MAX_TEXT = 300
TOGETHER, THREADS = 64, 4
"""Requests whose events are stored in one go, and threads that do it where one is held up."""
PAST_END_SECONDS = 5.0
"""How far beyond the end of an item a position may lie; players round."""


class Intake:
    """Takes events in; what comes at the same time is stored in one go, with one sync of the disk.

    Args:
        models: of these the active one judges, and its state keeps.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._lane = Lane(self._work, TOGETHER, ThreadPoolExecutor(THREADS, "events"))

    async def take(self, posted: Sequence[Any], own: Callable[[str], str]) -> Receipt:
        """Judge each event and store the good ones, durably, before returning.

        Args:
            posted: events as they were sent.
            own: gives the id of a user or an event the name that it has here.

        Raises:
            StateError: they cannot be stored; none of them was.
        """
        post = _Post(posted, own)
        self._lane.add(post)
        receipt = await post.done
        assert receipt is not None
        return receipt

    def _work(self, posts: Sequence["_Post"]) -> None:
        try:
            _take_in(self._models.active, posts)
        except (AvrecError, *FAULTS) as error:
            for post in posts:
                self._alone(post, error if len(posts) == 1 else None)
        finally:
            release(posts)

    def _alone(self, post: "_Post", fault: Exception | None) -> None:
        """After several failed together, try one by itself."""
        try:
            if fault is None:
                _take_in(self._models.active, [post])
        except (AvrecError, *FAULTS) as error:
            fault = error
        post.fault = fault


class _Post:
    """Events of one request, and what became of them."""

    def __init__(self, posted: Sequence[Any], own: Callable[[str], str]) -> None:
        self.posted, self.own = posted, own
        self.receipt: Receipt | None = None
        self.fault: Exception | None = None
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Receipt | None] = self.loop.create_future()

    def release(self) -> None:
        """Hand the receipt, or the fault, to whoever waits; neither, where work broke off."""
        settle(self.done, self.receipt, self.fault)


def _take_in(service: Service, posts: Sequence[_Post]) -> None:
    """Judge the events of some requests, store the good ones, and write the receipts."""
    judged = [[_judge(service, one) for one in post.posted] for post in posts]
    rows = [
        _row(event, post.own)
        for post, events in zip(posts, judged, strict=True)
        for event in events
        if isinstance(event, Event)
    ]
    fresh = service.state.append(pa.Table.from_pylist(rows, schema=EVENTS)) if rows else []
    flags = iter(fresh)
    for post, events in zip(posts, judged, strict=True):
        post.receipt = _receipt(map(_verdict, post.posted, events), flags)


def _receipt(verdicts: Iterable[Verdict], fresh: Iterator[bool]) -> Receipt:
    """Write a receipt; `fresh` tells of each event that was stored whether it is a new one."""
    told = list(verdicts)
    for verdict in told:
        if verdict.status == "accepted" and not next(fresh):
            verdict.status, verdict.reason = "duplicate", "this event_id was accepted before"
    counts = [verdict.status for verdict in told]
    return Receipt(
        accepted=counts.count("accepted"),
        duplicate=counts.count("duplicate"),
        refused=counts.count("refused"),
        events=told,
    )


def describe(error: ValidationError | Sequence[Any]) -> str:
    """Say in one line which fields are wrong, and how."""
    faults = error.errors() if isinstance(error, ValidationError) else error
    text = "; ".join(_describe_one(fault) for fault in faults)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _row(event: Event, own: Callable[[str], str]) -> dict[str, Any]:
    named = {"event_id": own(event.event_id), "user_id": own(event.user_id)}
    return event.model_dump() | named | {"at": event.at or datetime.now(UTC)}


def _judge(service: Service, posted: object) -> Event | str:
    try:
        event = Event.model_validate(posted)
    except ValidationError as error:
        return describe(error)
    row = service.row(event.item_id)
    if row < 0:
        return "item_id: this item is not in the catalogue"
    end = service.bundle.durations_seconds[row] + PAST_END_SECONDS
    if (event.position_seconds or 0) > end:
        return "position_seconds: this is past the end of the item"
    return event


def _verdict(posted: object, judged: Event | str) -> Verdict:
    if isinstance(judged, Event):
        return Verdict(event_id=judged.event_id, status="accepted")
    named = posted.get("event_id") if isinstance(posted, dict) else None
    short = _printable(named)[:64] if isinstance(named, str) else None
    return Verdict(event_id=short, status="refused", reason=judged)


def _describe_one(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query", "path"))
    said = _printable(fault["msg"].removeprefix("Value error, "))
    return f"{_printable(where)[:80]}: {said}" if where else said


def _printable(text: str) -> str:
    """Without the lone surrogates that JSON may bring in and UTF-8 cannot take out."""
    return text.encode("utf-8", "replace").decode()
