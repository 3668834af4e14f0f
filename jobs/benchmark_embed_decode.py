"""CPU seconds for 8 uniform frames and 16 kHz mono of a clip, against two other ways.

* PyAV as one writes it at first: for each frame a seek and decoding up to it, then the sound in a
  pass of its own.
* `ray.data.read_videos`, which decodes every frame with decord, and no sound; the CPU time is
  that of all processes of a Ray of one CPU, its start told apart. It needs decord (see `--peers`).

The clips: 640x360, 10 s, H.264 with a keyframe every 30 and every 250 frames, sound in AAC; and
the videos below `--media` that a seek a
frame gets through. A ratio is that of the sums over all clips; `value` compares the best
of the repeats, `median` their medians.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from avrec.arrays import Frame, Waveform
from avrec.media.decode import decode
from avrec.media.sampling import SAMPLE_RATE, Plan, midpoints
from avrec.media.taking import scaled

NUM_FRAMES, SIDE = 8, 224
PLAN = Plan(segment_seconds=3600, frames_per_segment=NUM_FRAMES, frame_side=SIDE, max_seconds=3600)
GOALS = {"naive": 1.4, "read_videos": 3.0}
VIDEOS = (".mp4", ".avi", ".mkv", ".webm", ".mov")
SECONDS, FRAMES_PER_SECOND, SIZE, RATE = 10, 30, (640, 360), 44_100
GROUPS = (30, 250)
BALL = 50
RAY_PROGRAM = "from jobs.benchmark_embed_decode import read_videos; read_videos()"


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both ratios."""
    with tempfile.TemporaryDirectory() as folder:
        clips = [write_clip(Path(folder) / f"{group}.mp4", group) for group in GROUPS]
        if arguments.media is not None:
            found = sorted(p for p in arguments.media.rglob("*") if p.suffix in VIDEOS)
            clips += [clip for clip in found if _plain(clip)]
        figures = [against_naive(clips, arguments.repeats)]
        if (figure := against_read_videos(clips, arguments)) is not None:
            figures.append(figure)
        return figures


def against_naive(clips: Sequence[Path], repeats: int) -> dict[str, Any]:
    """Compare with a seek a frame."""
    spent = [
        [(_cpu_seconds(partial(decode, clip, PLAN)), _cpu_seconds(partial(naive, clip)))
         for clip in clips]
        for _ in range(repeats)
    ]  # fmt: skip
    ours, peers = np.moveaxis(np.array(spent), 2, 0)
    return _figure("naive", ours, peers.min(axis=0).sum(), np.median(peers, axis=0).sum())


def against_read_videos(
    clips: Sequence[Path], arguments: argparse.Namespace
) -> dict[str, Any] | None:
    """Compare with `ray.data.read_videos`; None where decord is absent."""
    ours, peers, starts = [], [], []
    for _ in range(arguments.repeats):
        found = _read_videos_apart(clips, arguments.peers)
        if found is None:
            print("read_videos left out: decord is not installed", file=sys.stderr)
            return None
        peers.append(found["read_seconds"])
        starts.append(found["start_seconds"])
        ours.append([_cpu_seconds(partial(decode, clip, PLAN)) for clip in clips])
    figure = _figure("read_videos", np.array(ours), min(peers), median(peers))
    return figure | {"ray_start_cpu_seconds": round(median(starts), 2)}


def naive(path: Path) -> tuple[list[Frame], Waveform]:
    """Take frames with a seek for each, and the sound in a second pass."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        width, height = scaled(stream.width, stream.height, SIDE)
        assert stream.time_base is not None
        frames = []
        for second in midpoints((container.duration or 0) / av.time_base, NUM_FRAMES):
            container.seek(int(second / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= second:
                    break
            frames.append(frame.reformat(width, height, "rgb24").to_ndarray())
    return frames, _naive_sound(path)


def _naive_sound(path: Path) -> Waveform:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(path) as container:
        if not container.streams.audio:
            return np.empty(0, np.float32)
        frames = [*container.decode(audio=0), None]
        pieces = [piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)]
    return np.concatenate(pieces)


def _plain(clip: Path) -> bool:
    """Whether a seek a frame gets through a clip, so that there is something to compare."""
    try:
        naive(clip)
    except av.FFmpegError as error:
        print(f"{clip.name} left out: {error}", file=sys.stderr)
        return False
    return True


def read_videos() -> None:
    """Read the videos named on the command line with Ray, and print the CPU seconds it took."""
    import ray  # noqa: PLC0415 -- only the child that measures Ray
    import ray.data  # noqa: PLC0415

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    ray.get(ray.remote(_tree_cpu_seconds).remote())
    started = _tree_cpu_seconds()
    wanted = 0
    for batch in ray.data.read_videos(sys.argv[1:], override_num_blocks=1).iter_batches(
        batch_size=None, batch_format="pyarrow"
    ):
        wanted += len(batch)
    read = _tree_cpu_seconds() - started
    print(json.dumps({"start_seconds": started, "read_seconds": read, "num_frames": wanted}))
    ray.shutdown()


def write_clip(path: Path, group: int) -> Path:
    """Write a clip of drifting blocks and a ball, with a keyframe every `group` frames."""
    rng = np.random.default_rng(group)
    width, height = SIZE
    scene = np.kron(rng.integers(0, 256, (40, 60, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    rows, columns = np.mgrid[:height, :width]
    with av.open(path, "w") as out:
        video = out.add_stream(
            "libx264", rate=FRAMES_PER_SECOND, width=width, height=height, pix_fmt="yuv420p"
        )
        video.codec_context.gop_size = group
        audio = out.add_stream("aac", rate=RATE, layout="stereo")
        for number in range(SECONDS * FRAMES_PER_SECOND):
            right, down = (int(100 + 90 * np.sin(number / slow)) for slow in (20, 31))
            picture = scene[down : down + height, right : right + width].copy()
            middle = 320 + 200 * np.sin(number / 15)
            picture[(columns - middle) ** 2 + (rows - 180) ** 2 < BALL**2] = 200
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(video.encode())
        noise = rng.normal(0, 0.1, (2, SECONDS * RATE)).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(noise, "fltp", "stereo")
        sound.sample_rate = RATE
        out.mux(audio.encode(sound))
        out.mux(audio.encode())
    return path


def _figure(peer: str, ours: Any, best: float, middle: float) -> dict[str, Any]:
    ratio = best / ours.min(axis=0).sum()
    return {
        "figure": "decode_cpu",
        "value": round(float(ratio), 2),
        "median": round(float(middle / np.median(ours, axis=0).sum()), 2),
        "unit": "times less CPU",
        "peer": peer,
        "goal": GOALS[peer],
        "met": bool(ratio >= GOALS[peer]),
        "num_clips": ours.shape[1],
        "cpu_seconds": round(float(ours.min(axis=0).sum()), 3),
    }


def _cpu_seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _read_videos_apart(clips: Sequence[Path], peers: Path | None) -> dict[str, float] | None:
    paths = [str(path) for path in (peers, Path.cwd()) if path is not None]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "RAY_ADDRESS": ""}
    answer = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", RAY_PROGRAM, *map(str, clips)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode and "decord" in answer.stderr:
        return None
    if answer.returncode:
        raise RuntimeError(answer.stderr[-2000:])
    return json.loads(answer.stdout.splitlines()[-1])


def _tree_cpu_seconds() -> float:
    """CPU time of this process and of all below it, those that have ended counted by parents."""
    stats = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:  # it has just ended
                continue
            stats[int(folder.name)] = text.rpartition(")")[2].split()
    mine = {os.getpid()}
    while grown := {pid for pid, stat in stats.items() if int(stat[1]) in mine} - mine:
        mine |= grown
    ticks = sum(int(value) for pid in mine for value in stats[pid][11:15])
    return ticks / os.sysconf("SC_CLK_TCK")
