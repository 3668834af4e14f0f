"""Spectra of a waveform: frames, magnitudes, mel bands."""

import numpy as np

from avrec.arrays import Array, Waveform


def magnitudes(waveform: Waveform, window_samples: int, hop_samples: int, fft_size: int) -> Array:
    """Short-time Fourier magnitudes under a periodic Hann window.

    A waveform shorter than a window is padded with silence.

    Returns:
        float32 of shape (num_frames, fft_size // 2 + 1).
    """
    padded = np.pad(waveform, (0, max(0, window_samples - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop_samples]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    return np.abs(np.fft.rfft(windows * hann.astype(np.float32), fft_size)).astype(np.float32)


def mel_bands(
    num_bands: int, fft_size: int, sample_rate: int, low_hz: float, high_hz: float
) -> Array:
    """Triangles evenly spaced on the mel scale of HTK, 1127 ln(1 + f / 700); peaks of 1.

    Returns:
        float32 of shape (fft_size // 2 + 1, num_bands).
    """
    bins = _mel(np.arange(fft_size // 2 + 1) * sample_rate / fft_size)[:, None]
    edges = np.linspace(_mel(np.array(low_hz)), _mel(np.array(high_hz)), num_bands + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hz: Array) -> Array:
    return 1127.0 * np.log1p(hz / 700.0)
