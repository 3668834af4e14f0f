"""When somebody speaks: probabilities of short frames, and the spans that they make.

Waveforms are mono at 16 kHz; frames are 32 ms long and lie end to end.
"""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avrec.arrays import Values, Waveform
from avrec.embed.audio import SAMPLE_RATE
from avrec.embed.describe.config import SpeechConfig
from avrec.embed.spectra import magnitudes
from avrec.errors import InputError

FRAME_SAMPLES = 512
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
BELOW = 0.15
"""A span ends this far below the probability from which it begins."""
VOICE_HZ = (200.0, 3800.0)
SYLLABLES_SECONDS = 0.5
QUIET_DB, CLEAR_DB, FAINTEST_DB = 6.0, 18.0, -55.0

Spans = list[tuple[float, float]]


class Voice(Protocol):
    """Tells speech from all else."""

    name: str
    revision: str

    def probabilities(self, waveform: Waveform) -> Values:
        """Probability of speech in each frame, the last of which may be filled up with silence."""
        ...


class VoiceBandEnergy:
    """Voice activity without weights: sound in the band of voices well above the quiet parts.

    The level of a frame is that of 200 to 3800 Hz; 6 dB above the quietest tenth of the sound, or
    above -55 dB where that is less, counts as 0 and 18 dB as 1, smoothed over half a second. It
    hears any sound in that band as speech.
    """

    name = "voice_band_energy"
    revision = "1"

    def probabilities(self, waveform: Waveform) -> Values:
        """Probability of speech in each frame."""
        count = -(-len(waveform) // FRAME_SAMPLES)
        if not count:
            return np.zeros(0)
        padded = np.pad(waveform, (0, count * FRAME_SAMPLES - len(waveform)))
        spectrum = magnitudes(padded, FRAME_SAMPLES, FRAME_SAMPLES, FRAME_SAMPLES)
        hz = np.arange(spectrum.shape[1]) / FRAME_SECONDS
        band = spectrum[:, (hz >= VOICE_HZ[0]) & (hz <= VOICE_HZ[1])].astype(np.float64)
        level = 20 * np.log10(np.sqrt((band**2).sum(axis=1)) / FRAME_SAMPLES + 1e-9)
        floor = max(float(np.quantile(level, 0.1)), FAINTEST_DB)
        clear = np.clip((level - floor - QUIET_DB) / (CLEAR_DB - QUIET_DB), 0, 1)
        width = round(SYLLABLES_SECONDS / FRAME_SECONDS) | 1
        return np.convolve(np.pad(clear, width // 2, "edge"), np.ones(width) / width, "valid")


class SileroVoice:
    """Silero VAD, 16 kHz (github.com/snakers4/silero-vad, version 5): one ONNX file.

    Each frame is seen with the 64 samples before it, and the state of the one before; the first is
    led up to by silence, without which it misses what begins at once.
    """

    name = "silero-vad"
    context_samples = 64
    lead_frames = 4

    def __init__(self, model: str) -> None:
        path = _onnx_file(Path(model))
        self.session, self.revision = _session(path)

    def probabilities(self, waveform: Waveform) -> Values:
        """Probability of speech in each frame."""
        count = -(-len(waveform) // FRAME_SAMPLES) + self.lead_frames
        before = self.context_samples
        lead = before + self.lead_frames * FRAME_SAMPLES
        padded = np.pad(waveform, (lead, -len(waveform) % FRAME_SAMPLES))
        state = np.zeros((2, 1, 128), np.float32)
        rate, found = np.array(SAMPLE_RATE, np.int64), np.zeros(count)
        for frame, start in enumerate(range(0, count * FRAME_SAMPLES, FRAME_SAMPLES)):
            samples = padded[None, start : start + before + FRAME_SAMPLES]
            inputs = {"input": samples, "state": state, "sr": rate}
            output, state = self.session.run(None, inputs)
            found[frame] = output[0, 0]
        return found[self.lead_frames :]


def load_voice(config: SpeechConfig) -> Voice:
    """Silero where a model is configured, energy in the band of voices otherwise."""
    return SileroVoice(config.voice_model) if config.voice_model else VoiceBandEnergy()


def speech_spans(probabilities: Values, seconds: float, config: SpeechConfig) -> Spans:
    """Spans of speech in [0, seconds), sorted and disjoint.

    One begins at `voice_threshold`, and ends where `min_pause_seconds` lie 0.15 below it. What is
    left of `min_speech_seconds` or more is padded; spans that then touch are one.
    """
    spans, start = Spans(), -1
    last = 0
    for frame, probability in enumerate(probabilities.tolist()):
        if start >= 0 and (frame - last) * FRAME_SECONDS > config.min_pause_seconds:
            spans.append((start * FRAME_SECONDS, last * FRAME_SECONDS))
            start = -1
        if start < 0 and probability >= config.voice_threshold:
            start = frame
        if start >= 0 and probability >= config.voice_threshold - BELOW:
            last = frame + 1
    if start >= 0:
        spans.append((start * FRAME_SECONDS, last * FRAME_SECONDS))
    kept = [span for span in spans if span[1] - span[0] >= config.min_speech_seconds]
    return _padded(kept, seconds, config.pad_seconds)


def _padded(spans: Spans, seconds: float, pad_seconds: float) -> Spans:
    padded = Spans()
    for start, stop in spans:
        first, last = max(0.0, start - pad_seconds), min(seconds, stop + pad_seconds)
        if padded and first <= padded[-1][1]:
            padded[-1] = (padded[-1][0], max(last, padded[-1][1]))
        elif first < last:
            padded.append((first, last))
    return padded


def _onnx_file(path: Path) -> Path:
    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise InputError(f"no ONNX file {path}; check describe.speech.voice_model")
    return files[0]


def _session(path: Path) -> tuple[Any, str]:
    """Load a model onto one thread; returns it with the fingerprint of its file."""
    try:
        import onnxruntime  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise InputError("Silero VAD needs onnxruntime: pip install 'avrec[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session, hashlib.sha256(content).hexdigest()[:12]
