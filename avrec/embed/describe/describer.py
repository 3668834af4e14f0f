"""What a describer is: it finds words for what is in a decoded clip.

Rows come without `item_id` and `producer`, which are the caller's: what is computed is kept by the
content of a file, and two items may have the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from avrec.arrays import Frame, Values, Waveform

KEYS = ("item_id", "producer")


class Seen(Protocol):
    """A decoded clip, as `avrec.media.decode.Clip` is one.

    `frames` has shape (num_frames, height, width, 3), uint8, each on screen at `frame_seconds`;
    `waveform` is mono at 16 kHz. Either may be empty. `spans` are its segments, [start, stop).
    """

    @property
    def frames(self) -> Frame:
        """Pictures."""
        ...

    @property
    def frame_seconds(self) -> Values:
        """When each picture was on screen."""
        ...

    @property
    def waveform(self) -> Waveform:
        """Sound."""
        ...

    @property
    def spans(self) -> Sequence[tuple[float, float]]:
        """Segments, seconds."""
        ...

    def frames_in(self, span: Any) -> Frame:
        """Pictures of a span."""
        ...

    def sound_in(self, span: Any) -> Waveform:
        """Sound of a span."""
        ...


class Describer(Protocol):
    """Gives rows of one table for a clip."""

    name: str
    revision: str
    schema: pa.Schema
    """The table that the rows belong to, such as TRANSCRIPTS."""

    def describe(self, clip: Seen) -> pa.Table:
        """Rows of `found(schema)` in time order; none where there is nothing to find."""
        ...


def found(schema: pa.Schema) -> pa.Schema:
    """Columns of a table that a describer fills: all but `item_id` and `producer`."""
    return pa.schema([field for field in schema if field.name not in KEYS])


def rows(schema: pa.Schema, found_rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Make the table that a describer gives."""
    return pa.Table.from_pylist(list(found_rows), schema=found(schema))


def key(describer: Describer) -> str:
    """Name under which a describer's rows are kept."""
    return f"{describer.name}@{describer.revision}"
