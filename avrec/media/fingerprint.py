"""Fingerprints of what is seen and heard, that survive re-encoding, and how alike two are.

Frames: a 64-bit difference hash; bit (row, column) is set where a cell of an 8 x 9 grid of mean
grey is brighter than its left neighbour. Sound: the 32-bit words of Haitsma & Kalker, "A Highly
Robust Audio Fingerprinting System" (ISMIR 2002); a bit is the sign of the difference, along time
and along frequency, of the energies of 33 bands from 300 to 2000 Hz, here every HOP_SECONDS.

A flat frame and silence give 0, which is like nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from avrec.arrays import Array, Frame, Values, Waveform
from avrec.media.decode import Clip
from avrec.media.sampling import SAMPLE_RATE

FrameHashes = npt.NDArray[np.uint64]
SoundWords = npt.NDArray[np.uint32]

REVISION = "1"
GRID = (8, 9)
HOP_SECONDS = 0.05
HOP = round(HOP_SECONDS * SAMPLE_RATE)
WINDOW = 6400
"""Samples of a sound window, 0.4 seconds."""
BAND_EDGES_HZ = np.geomspace(300.0, 2000.0, 34)
WORD_BITS = 32
FLAT = 2.0
"""Spread of the grey levels of a frame, of 255, below which it shows nothing."""
SILENT = 1e-8
"""Mean power of a window, of 1, below which it is silence."""
SAME_FRAME_BITS = 12
"""Most bits in which two frames of the same picture differ."""
MIN_OVERLAP_SECONDS = 3.0
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a clip looks and sounds like; either may be empty.

    `frames[i]` was on screen at `frame_seconds[i]`; `sound[m]` tells of the window that begins at
    m * HOP_SECONDS.
    """

    frames: FrameHashes
    frame_seconds: Values
    sound: SoundWords
    revision: str = REVISION


class Alignment(NamedTuple):
    """How two sounds fit best: moment t of the first is moment t - offset_seconds of the second.

    `agreement` is the share of equal bits where they overlap: 0.5 for strangers, NaN where there
    is too little to compare.
    """

    offset_seconds: float
    agreement: float


def fingerprint(clip: Clip) -> Fingerprint:
    """Fingerprint the frames and the sound of a clip."""
    return Fingerprint(hash_frames(clip.frames), clip.frame_seconds, hash_sound(clip.waveform))


def hash_frames(frames: Frame) -> FrameHashes:
    """Hash frames of shape (num_frames, height, width, 3)."""
    if not len(frames):
        return np.empty(0, np.uint64)
    grey = _cells(frames, *GRID)
    bits = (np.diff(grey, axis=2) > 0).reshape(len(frames), -1)
    hashes = _packed(bits, np.uint64)
    return np.where(grey.std(axis=(1, 2)) < FLAT, np.uint64(0), hashes)


def hash_sound(waveform: Waveform) -> SoundWords:
    """Hash a waveform, mono at SAMPLE_RATE, into one word a hop."""
    if len(waveform) < WINDOW + HOP:
        return np.empty(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    energies = np.concatenate([_band_energies(part) for part in _parts(windows)])
    change = np.diff(energies, axis=0)
    words = _packed(change[:, :-1] > change[:, 1:], np.uint32)
    power = energies.sum(axis=1)
    return np.where(np.minimum(power[1:], power[:-1]) < SILENT, np.uint32(0), words)


def same_frames(first: FrameHashes, second: FrameHashes) -> float:
    """Share of the frames of `first` that `second` shows too; NaN where `first` shows nothing."""
    first, second = first[first != 0], second[second != 0]
    if not len(first):
        return np.nan
    if not len(second):
        return 0.0
    differing = np.bitwise_count(first[:, None] ^ second[None])
    return float((differing.min(axis=1) <= SAME_FRAME_BITS).mean())


def align(
    first: SoundWords, second: SoundWords, min_overlap_seconds: float = MIN_OVERLAP_SECONDS
) -> Alignment:
    """Find the offset at which two sounds agree best, of those at which they overlap enough.

    Of equals it is the one with the longest overlap.
    """
    length = next_fast_len(len(first) + len(second), real=True)
    spectra = [rfft(_signs(words), length, axis=0) for words in (first, second)]
    sums = irfft((spectra[0] * spectra[1].conj()).sum(axis=1), length)
    told = [rfft((words != 0).astype(np.float64), length) for words in (first, second)]
    overlaps = np.rint(irfft(told[0] * told[1].conj(), length))
    enough = overlaps >= max(1.0, min_overlap_seconds / HOP_SECONDS - ROUNDING)
    if not enough.any():
        return Alignment(0.0, np.nan)
    agreements = np.where(enough, 0.5 + sums / (2 * WORD_BITS * np.maximum(overlaps, 1)), -1.0)
    alike = agreements >= agreements.max() - ROUNDING
    best = int(np.where(alike, overlaps, 0).argmax())
    lag = best if best < len(first) else best - length
    return Alignment(lag * HOP_SECONDS, float(min(agreements[best], 1.0)))


def _parts(windows: Array) -> list[Array]:
    return [windows[start : start + WINDOW] for start in range(0, len(windows), WINDOW)]


def _band_energies(windows: Array) -> Values:
    edges = np.searchsorted(rfftfreq(WINDOW, 1 / SAMPLE_RATE), BAND_EDGES_HZ)
    spectra = rfft(windows * np.hanning(WINDOW).astype(np.float32), axis=1)
    heard = spectra[:, edges[0] : edges[-1]]
    power = heard.real.astype(np.float64) ** 2 + heard.imag.astype(np.float64) ** 2
    return np.add.reduceat(power, edges[:-1] - edges[0], axis=1) / WINDOW**2


def _signs(words: SoundWords) -> Values:
    """Bits as -1 and 1, shape (len(words), 32); silence is 0."""
    shifts = np.arange(WORD_BITS, dtype=np.uint32)
    bits = (words[:, None] >> shifts) & np.uint32(1)
    return np.where(words[:, None] == 0, 0.0, 2.0 * bits - 1.0)


def _packed(bits: Array, dtype: npt.DTypeLike) -> Array:
    return np.packbits(bits, axis=1, bitorder="little").view(dtype)[:, 0]


def _cells(frames: Frame, num_rows: int, num_columns: int) -> Array:
    """Mean grey of each cell of a grid, shape (num_frames, num_rows, num_columns)."""
    num_frames, height, width, channels = frames.shape
    rows, columns = (
        np.arange(n) * size // n for n, size in ((num_rows, height), (num_columns, width))
    )
    bands = np.add.reduceat(frames.reshape(num_frames, height, -1), rows, axis=1, dtype=np.uint32)
    grey = bands.reshape(num_frames, num_rows, width, channels).sum(axis=3)
    sums = np.add.reduceat(grey, columns, axis=2)
    return sums / (channels * np.outer(_lengths(rows, height), _lengths(columns, width)))


def _lengths(starts: Array, size: int) -> Array:
    """Length of each stretch; where pixels are too few, two stretches share one."""
    return np.maximum(np.diff(starts, append=size), 1)
