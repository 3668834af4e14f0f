"""Which re-encodings of real clips are found, what else is taken for a copy, how the time grows.

Every clip below `--media` is coded anew in several ways: another codec, a low bit rate, half the
size, a few pixels cut off each side, a quarter as loud, both ends cut off. Recall is the share of
re-encodings that are in the group of their original, apart for clips of less than a second, which
are too short for fingerprints. Precision is the share of pairs in groups that come from one
original; files that decode to the same samples are one. Files in a folder `odd`, which are made
from others or broken, are left out of both.

Growth compares the seconds for generated fingerprints of catalogues of two sizes.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa

from avrec.alike import DuplicatesConfig
from avrec.duplicates import find
from avrec.embed import pool
from avrec.embed.audio import SoundMoments
from avrec.embed.encoder import Encoder, key
from avrec.embed.pool import Content
from avrec.embed.visual import PictureMoments
from avrec.errors import MediaError
from avrec.media.decode import Clip
from avrec.media.fingerprint import fingerprint
from avrec.media.limits import Limits
from avrec.media.sampling import Plan, Span
from avrec.media.sandbox import Sandbox
from avrec.schema import EMBEDDINGS, FINGERPRINTS, ITEMS, MEDIA, conform
from avrec.vocab import Vocabulary

RATE = 48_000
SUFFIXES = {".avi", ".flac", ".m4a", ".mkv", ".mov", ".mp3", ".mp4", ".oga", ".ogg", ".ogv"} | {
    *(".opus", ".wav", ".webm", ".wma"),
}
SHORT_SECONDS = 1.0
SIZES, NUM_FRAMES, NUM_WORDS = (5_000, 20_000), 12, 200
GROWTH_GOAL = 1.5
GOALS = {"recall": 0.95, "precision": 0.99}


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a clip is coded anew; `trim_share` of it is cut off each end."""

    video_codec: str = "libx264"
    audio_codec: str = "aac"
    video_bits: int = 1_000_000
    audio_bits: int = 96_000
    scale: float = 1.0
    crop: int = 0
    gain: float = 1.0
    trim_share: float = 0.0


CHANGES = {
    "codec": Change(video_codec="mpeg4", audio_codec="libopus", video_bits=2_000_000),
    "bit rate": Change(video_bits=100_000, audio_codec="libmp3lame", audio_bits=32_000),
    "size": Change(scale=0.5),
    "crop": Change(crop=6),
    "volume": Change(gain=0.25),
    "ends": Change(trim_share=0.04),
}
SEEN_ONLY = ("size", "crop")


@dataclass(frozen=True, eq=False)
class Upload:
    """A file of the catalogue: which original it shows, and by which change, if any."""

    name: str
    original: str
    change: str
    clip: Clip


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure growth and, with `--media`, recall by change and precision."""
    figures = [growth(arguments.repeats)]
    if arguments.media is None:
        return figures
    with tempfile.TemporaryDirectory() as folder, Sandbox(Limits()) as sandbox:
        uploads = list(catalogue(arguments.media, Path(folder), sandbox))
    table = _prints(uploads)
    for by, prints in {"both": table, "vectors only": table.slice(0, 0)}.items():
        groups = grouped(uploads, DuplicatesConfig(), prints)
        figures += [
            _figure(f"duplicates, {by}: {name}", *of) for name, of in judged(groups, uploads)
        ]
    return figures


def growth(repeats: int) -> dict[str, Any]:
    """Time catalogues of generated fingerprints, one copy in ten, in turn; the best of each."""
    worlds = [generated(size) for size in SIZES]
    seconds = np.empty((repeats, len(SIZES)))
    for turn in range(repeats):
        for place, (items, media, prints) in enumerate(worlds):
            begin = time.perf_counter()
            find(items, media, prints, None, DuplicatesConfig())
            seconds[turn, place] = time.perf_counter() - begin
    best, middle = seconds.min(axis=0), np.median(seconds, axis=0)
    ratio, times = float(best[1] / best[0]), SIZES[1] / SIZES[0]
    return {
        "figure": f"duplicates, {SIZES[1]:,} contents against {SIZES[0]:,}: time",
        "value": round(ratio, 2),
        "median": round(float(middle[1] / middle[0]), 2),
        "unit": "times",
        "peer": times,
        "goal": GROWTH_GOAL * times,
        "met": ratio <= GROWTH_GOAL * times,
        "seconds": round(float(best[1]), 2),
    }


def generated(size: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Random frames and words, of which each tenth content is a copy of the one before."""
    rng = np.random.default_rng(0)
    frames = rng.integers(1, 1 << 63, (size, NUM_FRAMES), np.uint64)
    words = rng.integers(1, 1 << 32, (size, NUM_WORDS), np.uint32)
    frames[9::10], words[9::10] = frames[8::10], words[8::10]
    frames[9::10] ^= np.uint64(1)
    names = [f"{row:08}" for row in range(size)]
    prints = {
        "item_id": names,
        "frames": pa.array(list(frames)),
        "frame_seconds": pa.array([[0.0] * NUM_FRAMES] * size),
        "sound": pa.array(list(words)),
    }
    items, media = _tables(names)
    return items, media, conform(pa.table(prints), FINGERPRINTS)


def catalogue(media: Path, folder: Path, sandbox: Sandbox) -> Iterator[Upload]:
    """Every clip that can be decoded, followed by what became of it."""
    for path in sorted(p for p in media.rglob("*") if p.suffix.lower() in SUFFIXES):
        name = str(path.relative_to(media))
        clip = _decoded(path, sandbox)
        if clip is None:
            continue
        yield Upload(name, name, "", clip)
        for change, how in {} if name.startswith("odd/") else CHANGES.items():
            if change in SEEN_ONLY and not len(clip.frames):
                continue
            copy = recode(path, folder / "copy.mkv", how, seen=bool(len(clip.frames)))
            if (changed := _decoded(copy, sandbox)) is not None:
                yield Upload(f"{name} ({change})", name, change, changed)


def recode(path: Path, copy: Path, change: Change, *, seen: bool) -> Path:
    """Write a clip anew."""
    with av.open(path) as source, av.open(copy, "w") as out:
        seconds = float((source.duration or 0) / av.time_base)
        kept = (seconds * change.trim_share, seconds * (1 - change.trim_share))
        lanes = []
        if seen:
            lanes.append(_video(source.streams.video[0], out, change))
        if source.streams.audio:
            lanes.append(_audio(source.streams.audio[0], out, change))
        for packet in source.demux([lane.source for lane in lanes]):
            lane = next(one for one in lanes if one.source == packet.stream)
            for frame in _frames(packet):
                if frame.time is not None and kept[0] <= frame.time <= kept[1]:
                    out.mux(lane.encode(frame, frame.time - kept[0]))
        for lane in lanes:
            out.mux(lane.target.encode(None))
    return copy


def _frames(packet: av.Packet) -> list[Any]:
    try:
        return packet.decode()
    except av.FFmpegError:  # the originals are real: some end in half a packet
        return []


class _Lane(NamedTuple):
    source: Any
    target: Any
    encode: Callable[[Any, float], list[av.Packet]]


def _video(source: Any, out: Any, change: Change) -> _Lane:
    width, height = source.codec_context.width, source.codec_context.height
    size = [2 * round((side - 2 * change.crop) * change.scale / 2) for side in (width, height)]
    rate = Fraction(source.average_rate or 25).limit_denominator(1000)
    target = out.add_stream(change.video_codec, rate=rate, pix_fmt="yuv420p")
    target.width, target.height = size
    if change.video_codec == "libx264":
        target.options = {"preset": "veryfast"}
    target.bit_rate, target.time_base = change.video_bits, 1 / rate
    last = [-1]

    def encode(frame: Any, second: float) -> list[av.Packet]:
        picture = frame.to_ndarray(format="rgb24")
        inner = slice(change.crop, -change.crop or None)
        cut = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[inner, inner]), "rgb24")
        drawn = cut.reformat(*size, "yuv420p")
        drawn.pts, drawn.time_base = round(second * rate), 1 / rate
        if drawn.pts <= last[0]:
            return []
        last[0] = drawn.pts
        return target.encode(drawn)

    return _Lane(source, target, encode)


def _audio(source: Any, out: Any, change: Change) -> _Lane:
    target = out.add_stream(change.audio_codec, rate=RATE, layout="mono")
    target.bit_rate = change.audio_bits
    to_floats = av.AudioResampler("fltp", "mono", RATE)
    to_codec = av.AudioResampler(target.format, "mono", RATE, target.codec_context.frame_size)

    def encode(frame: Any, _: float) -> list[av.Packet]:
        frame.pts = None
        packets = []
        for piece in to_floats.resample(frame):
            louder = av.AudioFrame.from_ndarray(
                piece.to_ndarray() * np.float32(change.gain), "fltp", "mono"
            )
            louder.sample_rate = RATE
            for ready in to_codec.resample(louder):
                packets += target.encode(ready)
        return packets

    return _Lane(source, target, encode)


def grouped(uploads: list[Upload], config: DuplicatesConfig, prints: pa.Table) -> dict[str, str]:
    """Group of each upload that has one."""
    items, media = _tables([upload.name for upload in uploads])
    found = find(items, media, prints, _content(uploads), config)
    return dict(zip(found["item_id"].to_pylist(), found["group"].to_pylist(), strict=True))


def _tables(names: list[str]) -> tuple[pa.Table, pa.Table]:
    items = conform(pa.table({"item_id": names, "title": names}), ITEMS)
    return items, conform(pa.table({"item_id": names, "uri": names, "sha256": names}), MEDIA)


def judged(
    groups: Mapping[str, str], uploads: list[Upload]
) -> Iterator[tuple[str, tuple[float, float | None]]]:
    """Recall by change and by length, and precision, with their goals."""
    work, seconds = _works(uploads), {one.name: one.clip.duration_seconds for one in uploads}
    copies = [one for one in uploads if one.change]
    hit = {c: groups.get(c.name, "") == groups.get(c.original, "alone") for c in copies}
    long = [copy for copy in copies if seconds[copy.original] >= SHORT_SECONDS]
    for change in CHANGES:
        yield f"recall, {change}", (_share(hit[c] for c in long if c.change == change), None)
    yield "recall", (_share(hit[copy] for copy in long), GOALS["recall"])
    yield "recall, below a second", (_share(hit[c] for c in copies if c not in long), None)
    told = [u for u in uploads if u.name in groups and not u.original.startswith("odd/")]
    pairs = [(a, b) for a, b in combinations(told, 2) if groups[a.name] == groups[b.name]]
    same = _share(work[a.original] == work[b.original] for a, b in pairs)
    yield "precision", (same, GOALS["precision"])


def _works(uploads: list[Upload]) -> dict[str, str]:
    """For each original the digest of its samples."""
    return {
        one.name: hashlib.sha256(
            one.clip.waveform.tobytes() + one.clip.frames.tobytes()
        ).hexdigest()
        for one in uploads
        if not one.change
    }


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean([*hits]))


def _figure(name: str, value: float, goal: float | None) -> dict[str, Any]:
    met = None if goal is None else value >= goal
    return {
        "figure": name,
        "value": round(value, 4),
        "unit": "",
        "peer": None,
        "goal": goal,
        "met": met,
    }


def _decoded(path: Path, sandbox: Sandbox) -> Clip | None:
    try:
        return sandbox.decode(path, Plan())
    except MediaError:
        return None


def _prints(uploads: list[Upload]) -> pa.Table:
    rows = []
    for upload in uploads:
        found = fingerprint(upload.clip)
        rows.append(
            {
                "item_id": upload.name,
                "frames": found.frames.tolist(),
                "frame_seconds": found.frame_seconds.tolist(),
                "sound": found.sound.tolist(),
            }
        )
    return pa.Table.from_pylist(rows, schema=FINGERPRINTS)


def _content(uploads: list[Upload]) -> Content:
    rows = []
    for name, clip in [(upload.name, upload.clip) for upload in uploads]:
        pictures = [(span, clip.frames_in(span)) for span in clip.spans]
        sounds = [(span, clip.sound_in(span)) for span in clip.spans]
        rows += _embedded(name, PictureMoments(), pictures)
        rows += _embedded(name, SoundMoments(), sounds)
    table = pa.Table.from_pylist(rows, schema=EMBEDDINGS)
    return pool.pool(table, Vocabulary.of([upload.name for upload in uploads]))


def _embedded(
    name: str, encoder: Encoder[Any], inputs: Sequence[tuple[Span, Any]]
) -> list[dict[str, Any]]:
    seen = [(span, value) for span, value in inputs if len(value)]
    vectors = encoder.encode([value for _, value in seen]) if seen else np.empty((0, encoder.dim))
    return [
        {
            "item_id": name,
            "encoder": key(encoder),
            "start_seconds": span.start_seconds,
            "stop_seconds": span.stop_seconds,
            "vector": vector.tolist(),
        }
        for (span, _), vector in zip(seen, vectors, strict=True)
    ]
