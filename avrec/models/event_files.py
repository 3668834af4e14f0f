"""Learning curves as TensorBoard reads them: `tensorboard --logdir WORKSPACE/towers`."""

import struct
from collections.abc import Iterator, Mapping, Sequence

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from avrec.store import Draft

NAME = "events.out.tfevents.{:.0f}.avrec"
NAMES = {"loss": "loss", "score": "validation/ndcg@10", "seconds": "seconds"}
"""What a curve has of an epoch, and what it is called there."""


def write(curve: Sequence[Mapping[str, float]], draft: Draft, now: float) -> None:
    """Put a curve beside a model."""
    draft.add(draft.place.write_part(NAME.format(now), event_file(curve, now)))


def event_file(curve: Sequence[Mapping[str, float]], now: float) -> bytes:
    """Write a curve, an epoch a step from 1; the last one ended at `now`, in Unix seconds."""
    return b"".join(_record(event.SerializeToString()) for event in _events(curve, now))


def _events(curve: Sequence[Mapping[str, float]], now: float) -> Iterator[Event]:
    at = now - sum(epoch["seconds"] for epoch in curve)
    yield Event(wall_time=at, file_version="brain.Event:2")
    for step, epoch in enumerate(curve, 1):
        at += epoch["seconds"]
        values = [Summary.Value(tag=NAMES[name], simple_value=n) for name, n in epoch.items()]
        yield Event(wall_time=at, step=step, summary=Summary(value=values))


def _record(content: bytes) -> bytes:
    """A TFRecord: length and content, each with its masked CRC-32C."""
    length = struct.pack("<Q", len(content))
    sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join(part + total for part, total in zip((length, content), sums, strict=True))
