"""Learning curves as TensorBoard reads them.

`tensorboard --logdir WORKSPACE/towers` shows those of what was made, `WORKSPACE/.train` what is
being trained: there, each epoch is a file of its own, which any store can take, and to which
readers go on.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from avrec.store import Draft, Place

NAME = "events.out.tfevents.{:.0f}.avrec"
EPOCH = "events.out.tfevents.{:.0f}.{:06}.avrec"
NAMES = {"loss": "loss", "score": "validation/ndcg@10", "seconds": "seconds"}
"""What a curve has of an epoch, and what it is called there."""


def write(curve: Sequence[Mapping[str, float]], draft: Draft, now: float) -> None:
    """Put a curve beside a model."""
    draft.add(draft.place.write_part(NAME.format(now), event_file(curve, now)))


def write_epoch(step: int, epoch: Mapping[str, float], place: Place, now: float) -> None:
    """Put one epoch, numbered from 1, which ended at `now`, where a run is watched."""
    place.write_part(EPOCH.format(now, step), event_file([epoch], now, step))


def event_file(curve: Sequence[Mapping[str, float]], now: float, first: int = 1) -> bytes:
    """Write a curve, an epoch a step from `first`; the last one ended at `now`, in Unix seconds."""
    return b"".join(_record(event.SerializeToString()) for event in _events(curve, now, first))


def _events(curve: Sequence[Mapping[str, float]], now: float, first: int) -> Iterator[Event]:
    at = now - sum(epoch["seconds"] for epoch in curve)
    yield Event(wall_time=at, file_version="brain.Event:2")
    for step, epoch in enumerate(curve, first):
        at += epoch["seconds"]
        values = [Summary.Value(tag=NAMES[name], simple_value=n) for name, n in epoch.items()]
        yield Event(wall_time=at, step=step, summary=Summary(value=values))


def _record(content: bytes) -> bytes:
    """A TFRecord: length and content, each with its masked CRC-32C."""
    length = struct.pack("<Q", len(content))
    sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join(part + total for part, total in zip((length, content), sums, strict=True))
