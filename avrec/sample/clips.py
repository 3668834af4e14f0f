"""Short clips with sound, made on the spot from a seed; no file of them is in the repository."""

import io
from dataclasses import dataclass

import av
import numpy as np

from avrec.arrays import Array, Waveform
from avrec.sample import pictures, sounds
from avrec.sample.pictures import FRAMES_PER_SECOND, HEIGHT, WIDTH, Look
from avrec.sample.sounds import SAMPLE_RATE, Sound


@dataclass(frozen=True, slots=True)
class Kind:
    """Clips that look and sound alike."""

    name: str
    sound: Sound
    look: Look


KINDS = (
    Kind("club", sounds.club, Look(pictures.squares, 0.85, 0.9, 0.6, 1.2, 0.5)),
    Kind("haze", sounds.haze, Look(pictures.disc, 0.62, 0.6, 0.35, 0.1, 9.0)),
    Kind("surf", sounds.surf, Look(pictures.waves, 0.5, 0.5, 0.75, 0.4, 4.0)),
    Kind("babble", sounds.babble, Look(pictures.mouth, 0.07, 0.4, 0.45, 2.0, 2.0)),
    Kind("chimes", sounds.chimes, Look(pictures.dots, 0.33, 0.7, 0.5, 0.7, 3.0)),
    Kind("engine", sounds.engine, Look(pictures.stripes, 0.0, 0.2, 0.2, 0.5, 1.2)),
)
"""The kinds of the sample; a clip's kind is never a column of its tables."""

AUDIO_CODECS = {".m4a": ("mp4", "aac"), ".flac": ("flac", "flac"), ".ogg": ("ogg", "libopus")}
BIT_EXACT = {"fflags": "+bitexact"}


def render(kind: Kind, suffix: str, seconds: float, rng: np.random.Generator) -> bytes:
    """Make one clip: `.mp4` has picture and sound; `.m4a`, `.flac` and `.ogg` have sound only."""
    waveform = kind.sound(seconds, rng)
    sink = io.BytesIO()
    if suffix == ".mp4":
        frames = pictures.draw(kind.look, seconds, rng)
        with av.open(sink, "w", format="mp4", options=BIT_EXACT) as out:
            _add_picture_and_sound(out, frames, waveform)
    else:
        container, codec = AUDIO_CODECS[suffix]
        with av.open(sink, "w", format=container, options=BIT_EXACT) as out:
            _add_sound(out, out.add_stream(codec, rate=SAMPLE_RATE, layout="mono"), waveform)
    return sink.getvalue()


def _add_picture_and_sound(
    out: av.container.OutputContainer, frames: Array, waveform: Waveform
) -> None:
    video = out.add_stream(
        "libx264",
        rate=FRAMES_PER_SECOND,
        options={"preset": "ultrafast", "crf": "28", "threads": "1"},
    )
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
    for frame in frames:
        out.mux(video.encode(av.VideoFrame.from_ndarray(frame)))
    out.mux(video.encode())
    _add_sound(out, audio, waveform)


def _add_sound(
    out: av.container.OutputContainer, stream: av.AudioStream, waveform: Waveform
) -> None:
    frame = av.AudioFrame.from_ndarray((waveform[None] * 32767).astype(np.int16), "s16", "mono")
    frame.sample_rate = SAMPLE_RATE
    out.mux(stream.encode(frame))
    out.mux(stream.encode())
