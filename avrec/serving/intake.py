"""From posted events to durable ones: each accepted, known already, or refused with a reason."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from avrec.schema import EVENTS
from avrec.serving.messages import Event, Receipt, Verdict
from avrec.serving.service import Service

MAX_TEXT = 300
PAST_END_SECONDS = 5.0
"""How far beyond the end of an item a position may lie; players round."""


def take_in(service: Service, posted: Sequence[Any], own: Callable[[str], str]) -> Receipt:
    """Judge each event and store the good ones, durably, before returning.

    Args:
        service: what they are judged by, and whose state keeps them.
        posted: events as they were sent.
        own: gives the id of a user or an event the name that it has here.

    Raises:
        StateError: they cannot be stored; none of them was.
    """
    verdicts, rows = [], []
    for one in posted:
        judged = _judge(service, one)
        verdicts.append(_verdict(one, judged))
        if isinstance(judged, Event):
            rows.append(_row(judged, own))
    fresh = service.state.append(pa.Table.from_pylist(rows, schema=EVENTS)) if rows else []
    stored = (v for v in verdicts if v.status == "accepted")
    for verdict, is_new in zip(stored, fresh, strict=True):
        if not is_new:
            verdict.status, verdict.reason = "duplicate", "this event_id was accepted before"
    counts = [v.status for v in verdicts]
    return Receipt(
        accepted=counts.count("accepted"),
        duplicate=counts.count("duplicate"),
        refused=counts.count("refused"),
        events=verdicts,
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
