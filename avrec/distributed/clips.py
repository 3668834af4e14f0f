"""Clips decoded ahead of whoever looks at them, and sent from one actor to another."""

import os
import queue
import resource
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avrec.embed.stats import DECODE, Tally
from avrec.errors import MediaError
from avrec.media.decode import Clip
from avrec.media.fetch import local_copy
from avrec.media.limits import Limits
from avrec.media.sampling import Plan, Span
from avrec.media.sandbox import Sandbox

Row = Mapping[str, Any]
FETCH = "fetch"
TICKS = os.sysconf("SC_CLK_TCK")

SENT = pa.schema(
    [
        pa.field("duration_seconds", pa.float64()),
        pa.field("frames", pa.large_binary()),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("frame_seconds", pa.list_(pa.float64())),
        pa.field("waveform", pa.large_binary()),
        pa.field("spans", pa.list_(pa.list_(pa.float64()))),
    ]
)
"""A clip as one row, which Ray Data never cuts in two."""


class Decoders:
    """Decoding children, each at its own file, a little ahead of the reader."""

    def __init__(self, plan: Plan, limits: Limits, number: int, tally: Tally) -> None:
        self.plan, self.limits, self.number, self.tally = plan, limits, number, tally
        self._free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for _ in range(number):
            self._free.put(Sandbox(limits))
        self._threads = ThreadPoolExecutor(number)
        self._children_seconds = 0.0

    def decoded(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Clip | MediaError]]:
        """Decode files in order; at most one a child is waiting to be read."""
        coming: deque[tuple[Row, Future[Clip | MediaError]]] = deque()
        for row in rows:
            coming.append((row, self._threads.submit(self._decode, row)))
            if len(coming) > self.number:
                yield _result(coming.popleft())
        while coming:
            yield _result(coming.popleft())

    def count_children(self) -> None:
        """Add the CPU seconds of the decoding children since the last time."""
        now = children_cpu_seconds()
        self.tally.add(DECODE, cpu_seconds=max(0.0, now - self._children_seconds))
        self._children_seconds = now

    def _decode(self, row: Row) -> Clip | MediaError:
        sandbox = self._free.get()
        try:
            start = time.perf_counter()
            with local_copy(row["uri"], self.limits) as path:
                size = path.stat().st_size
                fetched = time.perf_counter() - start
                self.tally.add(FETCH, seconds=fetched, files=1, bytes_in=size, bytes_out=size)
                return self._in_child(sandbox, path)
        except MediaError as error:
            return error
        finally:
            self._free.put(sandbox)

    def _in_child(self, sandbox: Sandbox, path: Path) -> Clip:
        with self.tally.busy(DECODE, on_cpu=False):
            clip = sandbox.decode(path, self.plan)
        self.tally.add(
            DECODE,
            files=1,
            frames=len(clip.frames),
            bytes_out=clip.frames.nbytes + clip.waveform.nbytes,
            media_seconds=min(clip.duration_seconds, self.plan.max_seconds),
        )
        return clip


def send(clip: Clip, *, frames: bool, sound: bool) -> dict[str, Any]:
    """Make a row of SENT, without the frames or the sound where nobody looks at them."""
    taken = clip.frames if frames else clip.frames[:0]
    return {
        "duration_seconds": clip.duration_seconds,
        "frames": taken.tobytes(),
        "shape": taken.shape,
        "frame_seconds": clip.frame_seconds.tolist() if frames else [],
        "waveform": clip.waveform.tobytes() if sound else b"",
        "spans": [list(span) for span in clip.spans],
    }


def receive(row: Row) -> Clip:
    """Read a row of SENT."""
    return Clip(
        duration_seconds=row["duration_seconds"],
        frames=np.frombuffer(row["frames"], np.uint8).reshape(row["shape"]),
        frame_seconds=np.asarray(row["frame_seconds"], np.float64),
        waveform=np.frombuffer(row["waveform"], np.float32),
        spans=tuple(Span(*span) for span in row["spans"]),
    )


def children_cpu_seconds() -> float:
    """CPU seconds of this process's children, dead and alive; of Linux's /proc."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    lists = [_text(task / "children") for task in Path("/proc/self/task").glob("*")]
    living = [_ticks(pid) for told in lists for pid in told.split()]
    return dead.ru_utime + dead.ru_stime + sum(living) / TICKS


def _ticks(pid: str) -> int:
    fields = _text(Path("/proc") / pid / "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # a thread or child that has just ended
        return ""


def _result(coming: tuple[Row, Future[Clip | MediaError]]) -> tuple[Row, Clip | MediaError]:
    row, future = coming
    return row, future.result()
