"""Sound without weights: moments of log-mel bands, chroma and rhythm."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np

from avrec.arrays import Array, Vector, Vectors, Waveform
from avrec.embed.spectra import magnitudes, mel_bands

SAMPLE_RATE = 16_000
WINDOW = 1024
HOP = 512
NUM_BANDS = 32
NUM_PITCHES = 12
FLOOR = 1e-4
A4_HZ = 440.0
CHROMA_HZ = (60.0, 4000.0)
BEATS_PER_MINUTE = np.geomspace(40, 240, 17)[:-1]


class SoundMoments:
    """How a segment sounds: its timbre, its key and its beat.

    The vector holds: mean and spread over time of 32 log-mel bands, and of their change; mean and
    spread of the 12 pitch classes; the centre, width and flatness of the spectrum; loudness and
    how much it varies; the share of sign changes; and how far the onsets repeat at each of 16
    tempi from 40 to 240 beats a minute.
    """

    name = "sound_moments"
    revision = "1"
    modality: Literal["sound"] = "sound"
    dim = 4 * NUM_BANDS + 2 * NUM_PITCHES + 6 + 3 + len(BEATS_PER_MINUTE)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform; one without samples gives zeros."""
        rows = [_moments(waveform) for waveform in inputs]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)


def _moments(waveform: Waveform) -> Vector:
    if not len(waveform):
        return np.zeros(SoundMoments.dim, np.float32)
    spectrum = magnitudes(waveform, WINDOW, HOP, WINDOW)
    bands = np.log(spectrum @ _mel() + FLOOR)
    change = np.diff(bands, axis=0, prepend=bands[:1])
    parts = [
        bands.mean(axis=0),
        bands.std(axis=0),
        np.abs(change).mean(axis=0),
        change.std(axis=0),
        *_chroma(spectrum),
        _shape(spectrum),
        _loudness(waveform),
        _rhythm(np.maximum(change, 0).mean(axis=1)),
    ]
    return np.concatenate(parts).astype(np.float32)


def _chroma(spectrum: Array) -> list[Array]:
    pitches = spectrum**2 @ _pitch_classes()
    shares = pitches / (pitches.sum(axis=1, keepdims=True) + FLOOR)
    return [shares.mean(axis=0), shares.std(axis=0)]


def _shape(spectrum: Array) -> Array:
    power = spectrum**2 + FLOOR**2
    octaves = np.log2(1 + np.arange(spectrum.shape[1]))
    shares = power / power.sum(axis=1, keepdims=True)
    centre = shares @ octaves
    width = np.sqrt(np.maximum(0, shares @ octaves**2 - centre**2))
    flatness = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
    return np.array([f(x) for x in (centre, width, flatness) for f in (np.mean, np.std)])


def _loudness(waveform: Waveform) -> Array:
    count = max(1, len(waveform) // HOP)
    blocks = np.array_split(waveform, count)
    levels = np.log([np.sqrt(np.mean(block**2)) + FLOOR for block in blocks])
    crossings = np.count_nonzero(np.diff(np.signbit(waveform))) / len(waveform)
    return np.array([levels.mean(), levels.std(), crossings])


def _rhythm(onsets: Array) -> Array:
    """Autocorrelation of the onsets at the lag of each tempo, 1 at best."""
    centred = onsets - onsets.mean()
    energy = float(centred @ centred)
    lags = 60 / BEATS_PER_MINUTE * SAMPLE_RATE / HOP
    if energy < FLOOR:
        return np.zeros(len(lags))
    size = 2 * len(centred)
    spectrum = np.fft.rfft(centred, size)
    repeats = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(centred)] / energy
    return np.interp(lags, np.arange(len(repeats)), repeats, right=0.0)


@cache
def _mel() -> Array:
    return mel_bands(NUM_BANDS, WINDOW, SAMPLE_RATE, 40.0, 7600.0)


@cache
def _pitch_classes() -> Array:
    """Which pitch class each bin of the spectrum belongs to, shape (num_bins, 12)."""
    hz = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    heard = (hz >= CHROMA_HZ[0]) & (hz <= CHROMA_HZ[1])
    pitch = np.round(12 * np.log2(np.where(heard, hz, A4_HZ) / A4_HZ)).astype(int) % NUM_PITCHES
    return (np.eye(NUM_PITCHES)[pitch] * heard[:, None]).astype(np.float32)
