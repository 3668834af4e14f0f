"""Sound encoders with weights: Whisper, AST, CLAP, and classifiers of log-mel patches.

Waveforms are mono at 16 kHz; one without samples gives zeros.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import transformers
from scipy.signal import resample_poly

from avrec.arrays import Array, Vectors, Waveform
from avrec.embed.audio import SAMPLE_RATE
from avrec.embed.source import Source
from avrec.embed.spectra import magnitudes, mel_bands
from avrec.errors import InputError

FRONTEND = "yamnet_frontend.json"
MIN_SAMPLES = 400


class WhisperEncoder:
    """Mean of the Whisper encoder's states that lie over sound; the first 30 s of a segment.

    The encoder pads to 30 s with silence; states over the padding are left out of the mean.
    """

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        whole = source.model_from(transformers.WhisperModel)
        self.name, self.revision = source.name, source.revision_of(whole)
        self.batch_size, self.device = source.batch_size, source.device
        self.encoder = whole.get_encoder()
        self.dim = whole.config.d_model
        self.features = transformers.WhisperFeatureExtractor.from_pretrained(**source.place)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return _batched(inputs, self._vectors, self.batch_size, self.dim)

    @torch.inference_mode()
    def _vectors(self, batch: list[Waveform]) -> Vectors:
        features = self.features(batch, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        states = self.encoder(features.input_features.to(self.device)).last_hidden_state
        states = states.float().cpu().numpy()
        samples_per_state = self.features.n_samples / states.shape[1]
        counts = [max(1, round(len(waveform) / samples_per_state)) for waveform in batch]
        rows = [state[:count].mean(axis=0) for state, count in zip(states, counts, strict=True)]
        return np.stack(rows)


class SpectrogramTransformer:
    """The pooled state of an Audio Spectrogram Transformer (AST); about the first 10 s."""

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        self.model = source.model_from(transformers.ASTModel)
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        self.dim = self.model.config.hidden_size
        self.features = transformers.ASTFeatureExtractor.from_pretrained(**source.place)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return _batched(inputs, self._vectors, self.batch_size, self.dim)

    @torch.inference_mode()
    def _vectors(self, batch: list[Waveform]) -> Vectors:
        features = self.features(batch, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return self.model(features.input_values.to(self.device)).pooler_output.float().cpu().numpy()


class Clap:
    """The projected sound vector of CLAP, whose space it shares with texts; the first 10 s.

    Longer segments are cut rather than cropped at random, so the same sound gives the same vector.
    """

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        self.model = source.model_from(transformers.ClapAudioModelWithProjection)
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        self.dim = self.model.config.projection_dim
        self.features = transformers.ClapFeatureExtractor.from_pretrained(**source.place)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return _batched(inputs, self._vectors, self.batch_size, self.dim)

    @torch.inference_mode()
    def _vectors(self, batch: list[Waveform]) -> Vectors:
        rate = self.features.sampling_rate
        longest = self.features.nb_max_samples
        sounds = [resample_poly(waveform, rate, SAMPLE_RATE)[:longest] for waveform in batch]
        features = self.features(sounds, sampling_rate=rate, return_tensors="pt")
        output = self.model(
            input_features=features.input_features.to(self.device),
            is_longer=torch.zeros(len(batch), 1, dtype=torch.bool, device=self.device),
        )
        return output.audio_embeds.float().cpu().numpy()


class SpectrogramClassifier:
    """Mean over patches of the pooled features of an image classifier that looks at log-mels.

    YAMNet is one: 0.96 s patches of 64 bands into a MobileNet of one channel. The constants of the
    spectra are read from the file `yamnet_frontend.json` beside the weights. A sound shorter than
    a patch is padded with silence.
    """

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        self.model = source.model_from(transformers.MobileNetV1ForImageClassification)
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        self.dim = self.model.classifier.in_features
        self.frontend = source.json(FRONTEND)
        if self.frontend.get("sample_rate") != SAMPLE_RATE:
            raise InputError(f"{source.model} needs a {FRONTEND} of sample_rate {SAMPLE_RATE}")

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return _batched(inputs, self._vectors, 1, self.dim)

    @torch.inference_mode()
    def probabilities(self, vectors: Vectors) -> Array:
        """Probability of each class of the model, from vectors that `encode` gave."""
        head = self.model.classifier
        return torch.sigmoid(head(torch.from_numpy(vectors).to(self.device))).cpu().numpy()

    @torch.inference_mode()
    def _vectors(self, batch: list[Waveform]) -> Vectors:
        (waveform,) = batch
        patches = torch.from_numpy(self._patches(waveform))[:, None]
        pooled = [
            self.model.mobilenet_v1(part.to(self.device)).pooler_output
            for part in torch.split(patches, self.batch_size)
        ]
        return torch.cat(pooled).float().mean(dim=0, keepdim=True).cpu().numpy()

    def _patches(self, waveform: Waveform) -> Array:
        """Log-mel patches, shape (num_patches, patch_frames, num_bands)."""
        front = self.frontend
        window = round(front["stft_window_seconds"] * SAMPLE_RATE)
        hop = round(front["stft_hop_seconds"] * SAMPLE_RATE)
        length, step = front["patch_frames"], front["patch_hop_frames"]
        shortest = window + (length - 1) * hop
        padded = np.pad(waveform, (0, max(0, shortest - len(waveform))))
        low, high = front["mel_min_hz"], front["mel_max_hz"]
        bands = mel_bands(front["mel_bands"], front["fft"], SAMPLE_RATE, low, high)
        mel = np.log(magnitudes(padded, window, hop, front["fft"]) @ bands + front["log_offset"])
        starts = range(0, len(mel) - length + 1, step)
        return np.stack([mel[start : start + length] for start in starts]).astype(np.float32)


def _batched(
    inputs: Sequence[Waveform],
    vectors_of: Callable[[list[Waveform]], Vectors],
    batch_size: int,
    dim: int,
) -> Vectors:
    """Encode the inputs that have samples, some at a time; the others stay zeros."""
    vectors = np.zeros((len(inputs), dim), np.float32)
    heard = [row for row, waveform in enumerate(inputs) if len(waveform)]
    for start in range(0, len(heard), batch_size):
        rows = heard[start : start + batch_size]
        vectors[rows] = vectors_of([_long_enough(inputs[row]) for row in rows])
    return vectors


def _long_enough(waveform: Waveform) -> Any:
    return np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform))))
