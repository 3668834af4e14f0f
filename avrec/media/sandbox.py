"""Probe and decode in a child process, so that a hostile file costs one row and not the worker.

The child lives for many files and is started again when it dies. It has bounds on memory, CPU
time and wall time, writes no file, inherits no environment, and speaks over two pipes:

    message = length of the header (4 bytes) + header (JSON) + the arrays that the header names

so nothing that comes out of it is executed here.
"""

import json
import math
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from avrec.arrays import Array
from avrec.errors import ConfigError, MediaError
from avrec.media.container import NO_MEMORY
from avrec.media.decode import Clip, decode
from avrec.media.limits import Limits
from avrec.media.probe import MediaFacts, digest, probe
from avrec.media.sampling import Plan, Span

PROGRAM = "from avrec.media.sandbox import serve; serve()"
START_SECONDS = 120.0
FILES_PER_CHILD = 500
MAX_HEADER_BYTES = 1 << 22
PIPE_BYTES = 1 << 20
LENGTH = struct.Struct("<I")
LONGER = "raise media.limits.timeout_seconds, or lower embed.max_seconds"
DTYPES = {"frames": np.uint8, "frame_seconds": np.float64, "waveform": np.float32}


class Sandbox:
    """A decoding child; use it as a context, from one thread at a time."""

    def __init__(self, limits: Limits, program: str = PROGRAM) -> None:
        self.limits, self.program = limits, program
        self._child: subprocess.Popen[bytes] | None = None
        self._num_served = 0

    def probe(self, path: Path) -> MediaFacts:
        """Probe a file.

        Raises:
            MediaError: as `avrec.media.probe.probe`, or of kind crashed, timeout or too_large.
        """
        header, _ = self._ask(path, {"op": "probe"})
        return MediaFacts(**header["facts"])

    def decode(self, path: Path, plan: Plan) -> Clip:
        """Decode a file.

        Raises:
            MediaError: as `avrec.media.decode.decode`, or of kind crashed, timeout or too_large.
        """
        header, arrays = self._ask(path, {"op": "decode", "plan": asdict(plan)})
        facts = header["clip"]
        return Clip(
            facts["duration_seconds"],
            arrays["frames"],
            arrays["frame_seconds"],
            arrays["waveform"],
            spans=tuple(Span(*span) for span in facts["spans"]),
            damaged=tuple(Span(*span) for span in facts["damaged"]),
        )

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self, path: Path, request: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        try:
            return self._answered({"path": str(path), **request})
        except MediaError as error:
            if path.is_file():
                error.sha256 = digest(path)
            raise

    def _answered(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
        name = Path(request["path"]).name
        if self._num_served >= FILES_PER_CHILD:
            self.close()
        child = self._started()
        self._num_served += 1
        deadline = time.monotonic() + self.limits.timeout_seconds
        try:
            assert child.stdin is not None
            _send(child.stdin, request)
            header, arrays = _receive(child, deadline, self.limits.max_output_mb << 20)
        except TimeoutError as error:
            self.close()
            seconds = self.limits.timeout_seconds
            message = f"{name} took more than {seconds:g} seconds; {LONGER}"
            raise MediaError("timeout", message) from error
        except (EOFError, BrokenPipeError) as error:
            raise self._death(name) from error
        if "error" in header:
            kind, message = header["error"]
            if kind == "too_large":
                self.close()  # what is left of its memory may not do for the next file
            raise MediaError(kind, message)
        return header, arrays

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._num_served = 0
            self._child = _start(self.program, self.limits)
        return self._child

    def _death(self, name: str) -> MediaError:
        assert self._child is not None
        status = self._child.wait()
        self.close()
        if status == -signal.SIGXCPU:
            seconds = self.limits.timeout_seconds
            return MediaError("timeout", f"{name} took more than {seconds:g} CPU seconds; {LONGER}")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return MediaError("crashed", f"{name} ended the decoder with {how}; leave it out")


def serve() -> None:
    """Answer requests from standard input until it ends; the main loop of the child."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limits = Limits(**json.loads(sys.argv[1]))
    _restrict(limits)
    _send(answers, {})
    while (request := _read_request()) is not None:
        _allow_cpu(limits.timeout_seconds)
        header, arrays = _answer(request, limits)
        _send(answers, header)
        for array in arrays:
            _write(answers, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _answer(request: Mapping[str, Any], limits: Limits) -> tuple[dict[str, Any], list[Array]]:
    path = Path(request["path"])
    try:
        if request["op"] == "probe":
            return {"facts": asdict(probe(path, limits))}, []
        clip = decode(path, Plan(**request["plan"]), limits)
    except MediaError as error:
        return {"error": [error.kind, error.message]}, []
    except MemoryError:
        return {"error": ["too_large", NO_MEMORY]}, []
    arrays = [getattr(clip, name) for name in DTYPES]
    told = {name: getattr(clip, name) for name in ("duration_seconds", "spans", "damaged")}
    return {"clip": told, "shapes": [array.shape for array in arrays]}, arrays


def _start(program: str, limits: Limits) -> subprocess.Popen[bytes]:
    environment = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    child = subprocess.Popen(  # noqa: S603 -- our own program, and limits as JSON
        [sys.executable, "-P", "-c", program, json.dumps(asdict(limits))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
        pipesize=PIPE_BYTES,
    )
    try:
        _receive(child, time.monotonic() + START_SECONDS, max_bytes=0)
    except (EOFError, TimeoutError) as error:
        child.kill()
        child.communicate()
        raise ConfigError(
            f"the decoder does not start within memory_mb = {limits.memory_mb}; allow it more"
        ) from error
    return child


def _restrict(limits: Limits) -> None:
    memory_bytes = limits.memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _allow_cpu(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _read_request() -> dict[str, Any] | None:
    length = sys.stdin.buffer.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    return json.loads(sys.stdin.buffer.read(LENGTH.unpack(length)[0]))


def _send(stream: IO[bytes], header: Mapping[str, Any]) -> None:
    content = json.dumps(header).encode()
    _write(stream, LENGTH.pack(len(content)) + content)


def _write(stream: IO[bytes], content: bytes | memoryview) -> None:
    left = memoryview(content)
    while left:
        left = left[stream.write(left) :]


def _receive(
    child: subprocess.Popen[bytes], deadline: float, max_bytes: int
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read one message, with arrays of up to `max_bytes`.

    Raises:
        EOFError: the child ended, or sent what is no message.
        TimeoutError: the deadline passed.
    """
    length = LENGTH.unpack(_read(child, LENGTH.size, deadline))[0]
    if length > MAX_HEADER_BYTES:
        raise EOFError
    header = json.loads(_read(child, length, deadline))
    arrays = {}
    for (name, dtype), shape in zip(DTYPES.items(), header.get("shapes", ()), strict=False):
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        max_bytes -= num_bytes
        if max_bytes < 0:
            raise EOFError
        arrays[name] = np.frombuffer(_read(child, num_bytes, deadline), dtype).reshape(shape)
    return header, arrays


def _read(child: subprocess.Popen[bytes], num_bytes: int, deadline: float) -> bytearray:
    assert child.stdout is not None
    content = bytearray(num_bytes)
    left = memoryview(content)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while left:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            num_read = os.readv(child.stdout.fileno(), [left])
            if not num_read:
                raise EOFError
            left = left[num_read:]
    return content
