"""What users did since the bundle was made, and what they were shown; durable, read per request.

Two implementations do the same: `SQLiteState` on one machine, `RedisState` for replicas on many.
Both hand what they took in over to Parquet in numbered batches (`seal`, then `drained`): a batch
stays what it is until it is told to be drained, so whoever is killed between writing its files
and telling so writes the very same files again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from avrec.errors import AvrecError
from avrec.schema import TIME, conform


class StateError(AvrecError):
    """Events could not be stored or read: a full disk, a locked or foreign file, a lost server."""


class Live(NamedTuple):
    """What the state knows of one user.

    `events` are the latest EVENTS in the order of `at`, all after `forgotten_at`, the moment up to
    which the user asked to be forgotten.
    """

    events: pa.Table
    forgotten_at: datetime | None


class Sealed(NamedTuple):
    """A batch to be drained: its number, from 1, EVENTS and RECOMMENDATIONS as they came in."""

    number: int
    events: pa.Table
    served: pa.Table


class UserState(Protocol):
    """Live events by user, served lists, and who is to be forgotten.

    Any replica sees what any other has appended, at once. Every method raises StateError where
    the state cannot be used; then nothing was changed, or all of it was.
    """

    def append(self, events: pa.Table) -> list[bool]:
        """Store EVENTS; on return they are durable.

        Returns one flag a row: False for an `event_id` that was there already, or earlier in the
        same table; the first one is kept.
        """
        ...

    def live(self, user_id: str) -> Live:
        """Tell what is known of a user, at most as many events as the state keeps at hand."""
        ...

    def forget(self, user_id: str, at: datetime) -> int:
        """Delete events and served lists of a user, and note it for training, durably.

        The note names `at`, or the user's latest event where that is later. Returns how many
        events were deleted.
        """
        ...

    def forgotten(self) -> pa.Table:
        """All notes of users to be forgotten, as FORGOTTEN."""
        ...

    def log_served(self, shown: pa.Table) -> None:
        """Store RECOMMENDATIONS of some requests."""
        ...

    def seal(self, max_rows: int) -> Sealed | None:
        """Give the batch that is being drained, else begin one; None where nothing is left.

        Until `drained` is told its number the batch stays the same, but for users forgotten in
        between. `max_rows` limits how many events, and how many served lists, begin one.
        """
        ...

    def drained(self, number: int) -> None:
        """Let a batch go that is elsewhere now; a number already drained changes nothing."""
        ...

    def check(self) -> None:
        """Raise StateError unless the state answers."""
        ...


def to_rows(table: pa.Table, schema: pa.Schema) -> list[tuple[Any, ...]]:
    """Cells of a table, row by row; times are integers, UTC microseconds."""
    plain = conform(table, schema)
    columns = [c.cast(pa.int64()) if c.type == TIME else c for c in plain.columns]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def from_rows(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Undo `to_rows`."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
