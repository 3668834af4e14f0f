"""Clips a second from file to vector, on two cores, start-up told apart.

Every side takes 8 uniform frames of each of 64 clips (640x360, 10 s, H.264), and encodes them with
one vision tower of the transformers class ViT (6 layers of 384, patches of 32, random weights), one
thread a process. Ours decodes the sound too, in sandboxes, and keeps the vectors in a ledger.

* `bare`: two processes without Ray, sandbox or ledger, each with half of the files: decode, encode.
* `read_videos`: `ray.data.read_videos(fps=1, resize=...)`, then a pool of two encoders.
* `daft`: `read_video_frames(sample_interval_seconds=1.25)`, then a class of two encoders. It is
  Daft 0.7.8: from 0.7.16 at the latest to 0.7.26 the reader hangs on two cores, for both of Daft's
  threads wait for a loop that itself waits for one of them to open a file.

Each side runs in a process of its own, in turns. Its time runs from when its first model was ready
to when all vectors are there. Daft decodes most of 64 clips while its models load, so its time is
what 64 clips more take: a run of 128 less one of 64. Beside the seconds stand the CPU seconds of
all the processes of a side in that time, for a machine that has other work too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from avrec.arrays import Frame, Vectors
from avrec.distributed import embed
from avrec.distributed.extract import CONTENTS, extract
from avrec.embed.encoder import EmbedConfig, EncoderConfig, load_encoder
from avrec.media.decode import decode
from avrec.media.limits import Limits
from avrec.media.probe import digest
from avrec.store import place
from jobs.benchmark_embed_decode import GROUPS, write_clip

NUM_CLIPS, NUM_FRAMES, SIDE, WIDE = 64, 8, 224, 398
NUM_WORKERS = 2
LAYERS, WIDTH, HEADS, PATCH = 6, 384, 6, 32
GOALS = {"bare": 0.85, "read_videos": 1.5, "daft": 1.0}
CLIPS_AT_ONCE = 4
SAMPLE_SECONDS = 0.5
AHEAD = "daft"
"""The side that decodes before its models are ready."""
MAX_SECONDS = 300.0
"""How long a side may take, its start with it."""
COUNT = "AVREC_BENCHMARK_CLIPS"
"""Variable that tells a side how many clips are its own."""
PROGRAM = "from jobs.benchmark_embed_pipeline import side; side()"


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every side in turn, and compare."""
    with tempfile.TemporaryDirectory(prefix="avrec-benchmark-") as folder:
        root = Path(folder)
        write_clips(root / "clips")
        write_model(root / "model")
        seconds: dict[str, list[dict[str, float]]] = {}
        sides = dict.fromkeys(("ours", *GOALS))
        for _ in range(arguments.repeats):
            for name in list(sides):
                try:
                    seconds.setdefault(name, []).append(_measured(name, root, arguments.peers))
                except LeftOutError as why:
                    print(f"{name} left out: {why}", file=sys.stderr)
                    del sides[name]
        return [_figure(name, seconds) for name in GOALS if name in sides]


def write_clips(folder: Path) -> None:
    """Write clips of different content, twice NUM_CLIPS: boxes of a few bytes tell copies apart."""
    folder.mkdir()
    made = [write_clip(folder / f"made-{group}.mp4", group) for group in GROUPS]
    for number in range(2 * NUM_CLIPS):
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (folder / f"{number:03}.mp4").write_bytes(made[number % len(made)].read_bytes() + box)
    for path in made:
        path.unlink()


def write_model(folder: Path) -> None:
    """Write a vision tower with random weights."""
    import torch  # noqa: PLC0415 -- only the process that makes the model
    import transformers  # noqa: PLC0415

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    settings = {"size": {"shortest_edge": SIDE}, "do_center_crop": True, "crop_size": SIDE}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def side() -> None:
    """Run the side that the command line names, and print how long it took."""
    name, root = sys.argv[1], Path(sys.argv[2])
    begun = time.time()
    with _watched() as samples:
        ready, num_vectors = SIDES[name](root)
        ended = time.time()
    at, spent = np.transpose(samples)
    told = {
        "seconds": ended - ready,
        "start_seconds": ready - begun,
        "cpu_seconds": float(spent[-1] - np.interp(ready, at, spent)),
        "total_cpu_seconds": float(spent[-1] - spent[0]),
        "num_vectors": num_vectors,
    }
    print(json.dumps(told))


@contextmanager
def _watched() -> Iterator[list[tuple[float, float]]]:
    """Note now and then the time, and the CPU seconds of this process and of all below it."""
    samples, over = [(time.time(), cpu_seconds(os.getpid()))], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append((time.time(), cpu_seconds(os.getpid())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()
        samples.append((time.time(), cpu_seconds(os.getpid())))


def cpu_seconds(root: int) -> float:
    """CPU seconds of a process and of all below it, also of those that have ended."""
    parents, ticks = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = sum(int(field) for field in fields[11:15])
    below = {root}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return sum(ticks[pid] for pid in below) / os.sysconf("SC_CLK_TCK")


def ours(root: Path) -> tuple[float, int]:
    """By the pipeline."""
    import ray  # noqa: PLC0415

    ray.init(address="local", num_cpus=NUM_WORKERS, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"sha256": digest(path), "uri": str(path)} for path in _clips(root)]
    with tempfile.TemporaryDirectory(dir=root) as workspace:
        how = embed.extraction(_config(root), Limits(), place(workspace))
        begun = time.time()
        report = extract(pa.Table.from_pylist(rows, schema=CONTENTS), how)
        tables = [table for one in how.producers for table in one.ledger(how.root).tables()]
    return begun + report.start_seconds, sum(len(table) for table in tables)


def bare(root: Path) -> tuple[float, int]:
    """By two processes that do nothing else."""
    halves = [
        subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-c", PROGRAM.replace("side", "half"), str(root), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(NUM_WORKERS)
    ]
    told = [json.loads(half.communicate()[0]) for half in halves]
    return min(one["ready"] for one in told), sum(one["num_vectors"] for one in told)


def half() -> None:
    """Encode each second file."""
    root, number = Path(sys.argv[1]), int(sys.argv[2])
    config = _config(root)
    encoder, plan = load_encoder(config.encoders[0]), embed.plan(config)
    ready, num_vectors = time.time(), 0
    mine = _clips(root)[number::NUM_WORKERS]
    for start in range(0, len(mine), CLIPS_AT_ONCE):
        clips = [decode(path, plan) for path in mine[start : start + CLIPS_AT_ONCE]]
        num_vectors += len(encoder.encode([clip.frames for clip in clips]))
    print(json.dumps({"ready": ready, "num_vectors": num_vectors}))


class Tower:
    """The encoder as a peer's pool holds it; it notes when it was ready."""

    def __init__(self, root: Path) -> None:
        self.encoder = load_encoder(_config(root).encoders[0])
        (root / f"ready-{os.getpid()}").write_text(str(time.time()))

    def vectors(self, frames: list[Frame]) -> Vectors:
        """One a frame."""
        return self.encoder.encode([frame[None] for frame in frames])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Encode a batch of `read_videos`."""
        return {"vector": self.vectors(list(batch["frame"]))}


def read_videos(root: Path) -> tuple[float, int]:
    """By Ray Data's reader."""
    import ray  # noqa: PLC0415

    ray.init(address="local", num_cpus=NUM_WORKERS, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    frames = ray.data.read_videos([str(p) for p in _clips(root)], fps=1, resize=(SIDE, WIDE))
    vectors = frames.filter(lambda row: row["frame_index"] < NUM_FRAMES * 30).map_batches(
        Tower,
        fn_constructor_args=(root,),
        batch_size=CLIPS_AT_ONCE * NUM_FRAMES,
        compute=ray.data.ActorPoolStrategy(size=NUM_WORKERS),
        num_cpus=0.5,  # the readers need some of the two cores
    )
    return _when_ready(root, vectors.iter_rows())


def daft(root: Path) -> tuple[float, int]:
    """By Daft's reader, in its own engine."""
    peer: Any = import_module("daft")
    columns = peer.DataType.list(peer.DataType.float32())

    class Encoding:
        def __init__(self) -> None:
            self.tower = Tower(root)

        def __call__(self, frames: Any) -> list[list[float]]:
            pictures = [np.asarray(frame) for frame in frames.to_pylist()]
            return self.tower.vectors(pictures).tolist()

    frames = peer.read_video_frames(
        [str(path) for path in _clips(root)],
        image_height=SIDE,
        image_width=WIDE,
        sample_interval_seconds=10 / NUM_FRAMES,
    )
    batch_size = CLIPS_AT_ONCE * NUM_FRAMES
    pool = peer.udf(return_dtype=columns, concurrency=NUM_WORKERS, batch_size=batch_size)
    encoded = frames.select(pool(Encoding)(peer.col("data")).alias("vector"))
    return _when_ready(root, encoded.iter_rows())


SIDES = {"ours": ours, "bare": bare, "read_videos": read_videos, "daft": daft}


def _clips(root: Path) -> list[Path]:
    return sorted((root / "clips").iterdir())[: int(os.environ[COUNT])]


def _config(root: Path) -> EmbedConfig:
    return EmbedConfig(
        encoders=(EncoderConfig(kind="image_model", model=str(root / "model")),),
        frames_per_segment=NUM_FRAMES,
        frame_side=SIDE,
        num_actors=NUM_WORKERS,
        files_per_batch=8,
        fingerprints=False,
        thumbnails=False,
    )


def _when_ready(root: Path, rows: Iterator[Any]) -> tuple[float, int]:
    num_vectors = sum(1 for _ in rows)
    notes = list(root.glob("ready-*"))
    return min(float(note.read_text()) for note in notes), num_vectors // NUM_FRAMES


class LeftOutError(Exception):
    """A peer that is not here, or hangs."""


def _measured(name: str, root: Path, peers: Path | None) -> dict[str, float]:
    """What NUM_CLIPS clips take one side."""
    told = _apart(name, root, peers, NUM_CLIPS)
    if name != AHEAD:
        return told
    more = _apart(name, root, peers, 2 * NUM_CLIPS)
    whole, wholes = (one["seconds"] + one["start_seconds"] for one in (told, more))
    spent = more["total_cpu_seconds"] - told["total_cpu_seconds"]
    rest = {"start_seconds": 2 * whole - wholes, "cpu_seconds": spent}
    return told | {"seconds": wholes - whole} | rest


def _apart(name: str, root: Path, peers: Path | None, num_clips: int) -> dict[str, float]:
    """Run one side in a process of its own.

    Raises:
        LeftOutError: it is a peer and not installed, or took more than MAX_SECONDS.
    """
    for note in root.glob("ready-*"):
        note.unlink()
    paths = [str(path) for path in (Path.cwd(), peers) if path is not None]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "RAY_ADDRESS": ""} | threads
    environment |= {"RAY_worker_niceness": "0"}  # else other work comes before Ray's, not others'
    try:
        answer = subprocess.run(  # noqa: S603 -- our own program
            [sys.executable, "-c", PROGRAM, name, str(root)],
            env=environment
            | {"DAFT_RUNNER": "native", "DAFT_PROGRESS_BAR": "0", COUNT: str(num_clips)},
            capture_output=True,
            text=True,
            check=False,
            timeout=MAX_SECONDS if name in GOALS else None,
        )
    except subprocess.TimeoutExpired as error:
        raise LeftOutError(f"it took more than {MAX_SECONDS:g} seconds") from error
    if answer.returncode and any(f"'{peer}'" in answer.stderr for peer in ("decord", "daft")):
        raise LeftOutError("it is not installed")
    if answer.returncode:
        raise RuntimeError(answer.stderr[-3000:])
    told: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    if told["num_vectors"] != num_clips:
        raise RuntimeError(f"{name} gave {told['num_vectors']} vectors, expected {num_clips}")
    return told


def _figure(peer: str, seconds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    times = {name: [one["seconds"] for one in seconds[name]] for name in ("ours", peer)}
    starts = {name: [one["start_seconds"] for one in seconds[name]] for name in ("ours", peer)}
    spent = {name: [one["cpu_seconds"] for one in seconds[name]] for name in ("ours", peer)}
    ratio = median(times[peer]) / median(times["ours"])
    return {
        "figure": "embed_pipeline",
        "value": round(ratio, 2),
        "best": round(min(times[peer]) / min(times["ours"]), 2),
        "cpu": round(median(spent[peer]) / median(spent["ours"]), 2),
        "unit": "times the frames a second",
        "peer": peer,
        "goal": GOALS[peer],
        "met": ratio >= GOALS[peer],
        "frames_per_second": round(NUM_CLIPS * NUM_FRAMES / median(times["ours"]), 1),
        "start_seconds": round(median(starts["ours"]), 1),
        "peer_start_seconds": round(median(starts[peer]), 1),
    }
