"""What a long run takes, and what it survives.

* Memory: 1,000 and then 10,000 contents of one second, of which half of the encoders work in a
  pool behind the object store. It is the private memory of the driver, the actors and the decoding
  children together at its peak, and what Ray says of its object store.
* Kills: all of `--media` through probe and embed, with the driver killed, then a worker, then the
  driver again, each after some more parts are there. The tables at the end are those of a run that
  nobody disturbed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa

from avrec.distributed import embed
from avrec.distributed.extract import CONTENTS, extract
from avrec.embed.encoder import EmbedConfig, EncoderConfig
from avrec.ledger import held
from avrec.media.limits import Limits
from avrec.media.probe import digest
from avrec.schema import EMBEDDINGS, QUARANTINE
from avrec.store import Workspace, place

COUNTS = (1_000, 10_000)
FLAT = 1.2
STORE_BYTES = 256 << 20
SAMPLE_SECONDS = 0.5
KILL_AT_PARTS = (6, 12, 18)
PROGRAM = "from jobs.benchmark_embed_flow import flow; flow()"
JOB = "jobs.pipeline"
ORDER = ("item_id", "encoder", "start_seconds")
EMBED_TOML = """
workspace = {workspace}
stages = ["probe", "embed"]
[media]
inputs = [{media}]
[embed]
max_seconds = 20.0
frames_per_segment = 2
files_per_batch = 8
"""


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the memory; and, where there is media, disturb a run."""
    figures = [memory()]
    if arguments.media is not None:
        figures.append(kills(arguments.media.resolve()))
    return figures


def memory() -> dict[str, Any]:
    """Compare the peak at 10,000 contents with that at 1,000."""
    with tempfile.TemporaryDirectory(prefix="avrec-benchmark-") as folder:
        write_clips(Path(folder), max(COUNTS))
        told = [_flow_apart(Path(folder), count) for count in COUNTS]
    ratio = told[1]["peak_bytes"] / told[0]["peak_bytes"]
    spilled = max(one["spilled_mib"] for one in told)
    return {
        "figure": "embed_memory",
        "value": round(ratio, 3),
        "unit": f"times the memory at {COUNTS[0]} contents",
        "peer": "itself",
        "goal": FLAT,
        "met": ratio <= FLAT and not spilled,
        "peak_mib": [one["peak_bytes"] >> 20 for one in told],
        "store_peak_mib": [one["store_mib"] for one in told],
        "store_limit_mib": STORE_BYTES >> 20,
        "spilled_mib": spilled,
        "files_per_second": [round(one["files_per_second"], 1) for one in told],
    }


def write_clips(folder: Path, count: int) -> None:
    """Write clips that differ by a box of a few bytes, so that each is a content of its own."""
    first = folder / "first.mp4"
    with av.open(first, "w") as out:
        video = out.add_stream("mpeg4", rate=8, width=64, height=48, pix_fmt="yuv420p")
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        for number in range(8):
            grey = np.full((48, 64, 3), 30 * number, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(grey)))
        out.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(np.ones((1, 16_000), np.float32) / 9, "flt", "mono")
        sound.sample_rate = 16_000
        out.mux(audio.encode(sound))
        out.mux(audio.encode())
    content = first.read_bytes()
    for number in range(count):
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (folder / f"{number:05}.mp4").write_bytes(content + box)


def flow() -> None:
    """Extract as many contents as the command line says, and print what it took."""
    import ray  # noqa: PLC0415 -- only the process that measures Ray

    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = [folder / f"{number:05}.mp4" for number in range(count)]
    rows = [{"sha256": digest(path), "uri": str(path)} for path in paths]
    pooled = EncoderConfig(kind="sound_moments", pool="sound", num_cpus=0.5)
    config = EmbedConfig(
        encoders=(EncoderConfig(kind="picture_moments"), pooled),
        num_actors=1,
        num_decoders=2,
        frames_per_segment=2,
    )
    with tempfile.TemporaryDirectory() as root, _watched() as seen:
        how = embed.extraction(config, Limits(), place(root))
        report = extract(pa.Table.from_pylist(rows, schema=CONTENTS), how)
    speed = report.decoded("files") / report.wall_seconds
    print(json.dumps(seen | {"files_per_second": speed}))


@contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """Note the peaks of memory while a block runs."""
    seen = {"peak_bytes": 0.0, "store_mib": 0.0, "spilled_mib": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            told = {"peak_bytes": float(private_bytes(os.getpid())), **_store()}
            seen.update({name: max(seen[name], value) for name, value in told.items()})

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _store() -> dict[str, float]:
    import ray  # noqa: PLC0415
    from ray._private.internal_api import memory_summary  # noqa: PLC0415 -- no public way to it

    text = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    used = re.search(r"Plasma memory usage ([\d.]+) MiB", text)
    spilled = re.search(r"Spilled ([\d.]+) MiB", text)
    return {
        "store_mib": float(used[1]) if used else 0.0,
        "spilled_mib": float(spilled[1]) if spilled else 0.0,
    }


def private_bytes(root: int) -> int:
    """Private memory of a process, of Ray's workers, and of all below them."""
    parents, sizes, names = {}, {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                lines = (folder / "status").read_text().splitlines()
                names[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:  # it has just ended
                continue
            told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            parents[int(folder.name)] = int(told["PPid"])
            sizes[int(folder.name)] = int(told.get("RssAnon", "0 kB").split()[0]) << 10
    below = {root}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    ours = {pid for pid in below if pid == root or names[pid].startswith("ray::MapWorker")}
    while grown := {pid for pid in below if parents.get(pid) in ours - {root}} - ours:
        ours |= grown
    return sum(sizes[pid] for pid in ours)


def kills(media: Path) -> dict[str, Any]:
    """Disturb a run three times, and compare its tables with those of another."""
    import ray  # noqa: PLC0415

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    address = ray.get_runtime_context().gcs_address
    with tempfile.TemporaryDirectory(prefix="avrec-benchmark-") as folder:
        calm, disturbed = Path(folder) / "calm", Path(folder) / "disturbed"
        _job(media, calm, address).wait()
        num_killed = _disturb(media, disturbed, address)
        tables = [_tables(root) for root in (calm, disturbed)]
    ray.shutdown()
    same = all(one.equals(other) for one, other in zip(*tables, strict=True))
    vectors, refused = tables[0]
    return {
        "figure": "embed_killed",
        "value": num_killed,
        "unit": "kills with the same tables at the end",
        "peer": "a run not disturbed",
        "goal": len(KILL_AT_PARTS),
        "met": same and num_killed == len(KILL_AT_PARTS),
        "same": same,
        "vectors": len(vectors),
        "items": len(vectors["item_id"].unique()),
        "quarantined": dict(sorted(_counts(refused).items())),
    }


def _disturb(media: Path, root: Path, address: str) -> int:
    """Kill the driver, a worker, and the driver again, then let the job end; counts the kills."""
    num_killed = 0
    job = _job(media, root, address)
    for number, num_parts in enumerate(KILL_AT_PARTS):
        while _num_parts(root) < num_parts and job.poll() is None:
            time.sleep(SAMPLE_SECONDS)
        if job.poll() is None:
            num_killed += _kill_worker() if number == 1 else _kill(job)
        if job.poll() is not None:
            job = _job(media, root, address)
    if job.wait():
        raise RuntimeError(f"the job failed with status {job.returncode}")
    return num_killed


def _kill(job: subprocess.Popen[bytes]) -> int:
    job.kill()
    job.wait()
    return 1


def _kill_worker() -> int:
    """Kill an actor that extracts, of those below this process."""
    for folder in Path("/proc").iterdir():
        try:
            name = (folder / "cmdline").read_text() if folder.name.isdigit() else ""
        except OSError:
            continue
        if name.startswith("ray::MapWorker(MapBatches(Worker)"):
            os.kill(int(folder.name), 9)
            return 1
    return 0


def _job(media: Path, root: Path, address: str) -> subprocess.Popen[bytes]:
    root.mkdir(exist_ok=True)
    toml = root / "run.toml"
    workspace = json.dumps(str(root / "workspace"))
    toml.write_text(EMBED_TOML.format(workspace=workspace, media=json.dumps(str(media))))
    return subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, "-m", JOB, "--config", str(toml)],
        env=os.environ | {"RAY_ADDRESS": address},
    )


def _num_parts(root: Path) -> int:
    told = held(place(str(root / "workspace")))
    return sum(one.num_parts for one in told if one.producer.startswith("picture_moments"))


def _tables(root: Path) -> tuple[pa.Table, pa.Table]:
    workspace = Workspace(str(root / "workspace"))
    vectors = workspace.read_table("embeddings", EMBEDDINGS)
    refused = workspace.read_table("quarantine", QUARANTINE)
    order = [(name, "ascending") for name in ORDER]
    return vectors.sort_by(order).combine_chunks(), refused.combine_chunks()


def _counts(refused: pa.Table) -> dict[str, int]:
    kinds = refused["kind"].to_pylist()
    return {kind: kinds.count(kind) for kind in kinds}


def _flow_apart(folder: Path, count: int) -> dict[str, Any]:
    answer = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", PROGRAM, str(folder), str(count)],
        env=os.environ | {"RAY_ADDRESS": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(answer.stderr[-3000:])
    told: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return told | {"peak_bytes": int(told["peak_bytes"])}
