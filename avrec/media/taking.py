"""What is kept of a stream of decoded frames: pictures at wanted times, and sound as mono."""

from bisect import bisect_left
from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from avrec.arrays import Frame, Values, Waveform
from avrec.media.sampling import SAMPLE_RATE

MAX_ASPECT = 4
QUARTER_TURN_DEGREES = 90
GAP_SECONDS = 0.25
MIXED_CHANNELS = 8
"""Channels that FFmpeg has rules to mix; of more it would leave some out."""
BLOCK_SAMPLES = 1 << 14
"""Samples that are resampled at once, which costs less than frame by frame."""


@dataclass(slots=True)
class Pictures:
    """Keeps the frames that are on screen at the wanted times, each frame once."""

    wanted: list[float]
    side: int
    end_seconds: float = 0.0
    num_bytes: int = 0
    _taken: list[Frame] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _shown: av.VideoFrame | None = None
    _shown_seconds: float = 0.0
    _size: tuple[int, int] | None = None
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)

    @property
    def done(self) -> bool:
        """Whether no time is left to wait for."""
        return not self.wanted

    def offer(self, frame: av.VideoFrame, seconds: float) -> None:
        """Look at the next frame, which comes on screen at `seconds`."""
        self._take_due(until=seconds)
        self._shown, self._shown_seconds = frame, max(seconds, 0.0)

    def finish(self) -> None:
        """Take what is due of the last frame; it is taken in any case if no frame was."""
        self._take_due(until=self.end_seconds)
        if not self._taken and self._shown is not None:
            self._take(self._shown_seconds)

    def frames(self) -> Frame:
        """What was taken, shape (num_frames, height, width, 3)."""
        return np.stack(self._taken) if self._taken else np.empty((0, 0, 0, 3), np.uint8)

    def seconds(self) -> Values:
        """When each was on screen."""
        return np.array(self._seconds, np.float64)

    def _take_due(self, until: float) -> None:
        num_due = bisect_left(self.wanted, until)
        due, self.wanted = self.wanted[:num_due], self.wanted[num_due:]
        if due and self._shown is not None:
            self._take(due[0])

    def _take(self, seconds: float) -> None:
        assert self._shown is not None
        frame, self._shown = self._shown, None
        self._size = self._size or scaled(frame.width, frame.height, self.side)
        width, height = self._size
        small = resized(frame, width, height, self._reformatter)
        self._taken.append(upright(small, frame.rotation))
        self._seconds.append(seconds)
        self.num_bytes += self._taken[-1].nbytes


@dataclass(slots=True)
class Sound:
    """Keeps sound as mono at SAMPLE_RATE, up to a number of samples."""

    max_samples: int
    _num_samples: int = 0
    _offered_seconds: float = 0.0
    _taken: list[Waveform] = field(default_factory=list)
    _form: tuple[str, int, int] | None = None
    _waiting: av.AudioFifo = field(default_factory=av.AudioFifo)
    _resampler: av.AudioResampler | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes that are kept."""
        return self._num_samples * np.dtype(np.float32).itemsize

    @property
    def seconds(self) -> float:
        """Length of what is kept."""
        return min(self._num_samples, self.max_samples) / SAMPLE_RATE

    @property
    def done(self) -> bool:
        """Whether there is enough."""
        return self._num_samples >= self.max_samples

    def offer(self, frame: av.AudioFrame, seconds: float | None = None) -> None:
        """Take the next frame; its format may differ from the one before.

        Where it is heard, at `seconds`, more than GAP_SECONDS after what came before, the gap
        is filled with silence, so that sound and picture stay together.
        """
        if seconds is not None and seconds - self._offered_seconds > GAP_SECONDS:
            self._fill(until=seconds)
        self._offered_seconds = (
            self._offered_seconds if seconds is None else seconds
        ) + frame.samples / frame.sample_rate
        form = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
        if form != self._form:
            self.finish()
            self._form = form
        frame.pts = None
        self._waiting.write(frame)
        if self._waiting.samples >= BLOCK_SAMPLES:
            self._resample()

    def finish(self) -> None:
        """Take what still waits, and what the resampler holds."""
        self._resample()
        self._waiting, self._form = av.AudioFifo(), None
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def waveform(self) -> Waveform:
        """What was taken, within [-1, 1]."""
        joined = np.concatenate([*self._taken, np.empty(0, np.float32)])[: self.max_samples]
        return np.clip(np.nan_to_num(joined), -1, 1).astype(np.float32)

    def _fill(self, until: float) -> None:
        self.finish()
        length = min(round(until * SAMPLE_RATE), self.max_samples) - self._num_samples
        if length > 0:
            self._taken.append(np.zeros(length, np.float32))
            self._num_samples += length

    def _resample(self) -> None:
        if self._form is None or (frame := self._waiting.read()) is None:
            return
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frame.pts = None
        if frame.layout.nb_channels > MIXED_CHANNELS:
            frame = mean_of_channels(frame)
        self._keep(self._resampler.resample(frame))

    def _keep(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()[0]
            self._taken.append(samples)
            self._num_samples += len(samples)


def mean_of_channels(frame: av.AudioFrame) -> av.AudioFrame:
    """Make one channel of many, all of them alike."""
    (packed,) = av.AudioResampler(format="flt").resample(frame)
    samples = packed.to_ndarray().reshape(-1, frame.layout.nb_channels)
    mean = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)[None])
    mono = av.AudioFrame.from_ndarray(mean, "flt", "mono")
    mono.sample_rate = frame.sample_rate
    return mono


def scaled(width: int, height: int, side: int) -> tuple[int, int]:
    """Size whose shorter side is at most `side`, and whose longer is at most 4 times that.

    >>> scaled(1920, 1080, 216)
    (384, 216)
    """
    ratio = min(1.0, side / min(width, height), MAX_ASPECT * side / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def resized(frame: av.VideoFrame, width: int, height: int, reformatter: VideoReformatter) -> Frame:
    """Turn a frame into RGB, shape (height, width, 3); a reformatter is quick on like frames."""
    small = reformatter.reformat(
        frame, width, height, format="rgb24", interpolation="AREA", threads=1
    )
    return np.asarray(small.to_ndarray(), np.uint8)


def upright(frame: Frame, rotation_degrees: int) -> Frame:
    """Turn a picture counterclockwise, as its file asks for."""
    return np.ascontiguousarray(np.rot90(frame, round(rotation_degrees / QUARTER_TURN_DEGREES)))
