"""Sound encoders with weights: Whisper, AST, CLAP, and classifiers of log-mel patches.

Waveforms are mono at 16 kHz; one without samples gives zeros.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import transformers
from scipy.signal import resample_poly

from avrec.arrays import Array, Vectors, Waveform
from avrec.embed.audio import SAMPLE_RATE
from avrec.embed.batches import Batches
from avrec.embed.runners import Tensors
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
        self.batches, self.dim = Batches(source.batch_size), whole.config.d_model
        self.num_states = whole.config.max_source_positions
        self.features = transformers.WhisperFeatureExtractor.from_pretrained(**source.place)
        examples = [self._prepared(sounds) for sounds in _example_sounds()]
        self.run = source.runner(whole.get_encoder(), _mean_state, *examples)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return self.batches.vectors(inputs, self._vectors, self.dim, len)

    def _vectors(self, batch: list[Waveform]) -> Vectors:
        return self.run(*self._prepared(batch))

    def _prepared(self, batch: list[Waveform]) -> Tensors:
        """Spectra, and the share that each state has in the mean, shape (batch, num_states)."""
        sounds = [_long_enough(waveform) for waveform in batch]
        features = self.features(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        samples_per_state = self.features.n_samples / self.num_states
        counts = [max(1, round(len(waveform) / samples_per_state)) for waveform in sounds]
        heard = torch.arange(self.num_states) < torch.tensor(counts)[:, None]
        return features.input_features, heard / heard.sum(dim=1, keepdim=True)


def _mean_state(encoder: Any, features: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    states = encoder(features).last_hidden_state
    return torch.bmm(shares[:, None, :], states)[:, 0]


class SpectrogramTransformer:
    """The pooled state of an Audio Spectrogram Transformer (AST); about the first 10 s."""

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        model = source.model_from(transformers.ASTModel)
        self.name, self.revision = source.name, source.revision_of(model)
        self.batches, self.dim = Batches(source.batch_size), model.config.hidden_size
        self.features = transformers.ASTFeatureExtractor.from_pretrained(**source.place)
        examples = [self._prepared(sounds) for sounds in _example_sounds()]
        self.run = source.runner(model, _pooled, *examples)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return self.batches.vectors(inputs, self._vectors, self.dim, len)

    def _vectors(self, batch: list[Waveform]) -> Vectors:
        return self.run(*self._prepared(batch))

    def _prepared(self, batch: list[Waveform]) -> Tensors:
        sounds = [_long_enough(waveform) for waveform in batch]
        features = self.features(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return (features.input_values,)


def _pooled(model: Any, spectra: torch.Tensor) -> torch.Tensor:
    return model(spectra).pooler_output


class Clap:
    """The projected sound vector of CLAP, whose space it shares with texts; the first 10 s.

    Longer segments are cut rather than cropped at random, so the same sound gives the same vector.
    """

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        model = source.model_from(transformers.ClapAudioModelWithProjection)
        self.name, self.revision = source.name, source.revision_of(model)
        self.batches, self.dim = Batches(source.batch_size), model.config.projection_dim
        self.features = transformers.ClapFeatureExtractor.from_pretrained(**source.place)
        examples = [self._prepared(sounds) for sounds in _example_sounds()]
        self.run = source.runner(model, _sound_embeds, *examples)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return self.batches.vectors(inputs, self._vectors, self.dim, len)

    def _vectors(self, batch: list[Waveform]) -> Vectors:
        return self.run(*self._prepared(batch))

    def _prepared(self, batch: list[Waveform]) -> Tensors:
        rate = self.features.sampling_rate
        longest = self.features.nb_max_samples
        sounds = [
            resample_poly(_long_enough(waveform), rate, SAMPLE_RATE)[:longest] for waveform in batch
        ]
        features = self.features(sounds, sampling_rate=rate, return_tensors="pt")
        return (features.input_features,)


def _sound_embeds(model: Any, features: torch.Tensor) -> torch.Tensor:
    is_longer = torch.zeros(features.shape[0], 1, dtype=torch.bool, device=features.device)
    return model(input_features=features, is_longer=is_longer).audio_embeds


class SpectrogramClassifier:
    """Mean over patches of the pooled features of an image classifier that looks at log-mels.

    YAMNet is one: 0.96 s patches of 64 bands into a MobileNet of one channel. The constants of the
    spectra are read from the file `yamnet_frontend.json` beside the weights. A sound shorter than
    a patch is padded with silence.
    """

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source) -> None:
        model = source.model_from(transformers.MobileNetV1ForImageClassification)
        self.name, self.revision = source.name, source.revision_of(model)
        self.batches, self.device = Batches(source.batch_size), source.device
        self.config, self.head = model.config, model.classifier
        self.dim = self.head.in_features
        names = self.config.id2label
        self.labels = [names[row] for row in range(len(names))]
        self.frontend = source.json(FRONTEND)
        if self.frontend.get("sample_rate") != SAMPLE_RATE:
            raise InputError(f"{source.model} needs a {FRONTEND} of sample_rate {SAMPLE_RATE}")
        first, second = (self._stacked(sounds) for sounds in _example_sounds())
        self.run = source.runner(model.mobilenet_v1, _patch_vectors, (first,), (second,))

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        vectors = np.zeros((len(inputs), self.dim), np.float32)
        for row, waveform in enumerate(inputs):
            if len(waveform):
                patches = list(self._patches(waveform))
                rows = self.batches.vectors(patches, self._some, self.dim, len)
                vectors[row] = rows.mean(axis=0)
        return vectors

    @torch.inference_mode()
    def probabilities(self, waveform: Waveform) -> Array:
        """Probability of each class in each patch, shape (num_patches, num_classes)."""
        patches = list(self._patches(waveform))
        vectors = torch.from_numpy(self.batches.vectors(patches, self._some, self.dim, len))
        return torch.sigmoid(self.head(vectors.to(self.device))).cpu().numpy()

    def _some(self, patches: list[Array]) -> Vectors:
        return self.run(torch.from_numpy(np.stack(patches))[:, None])

    def _stacked(self, sounds: list[Waveform]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([self._patches(sound) for sound in sounds]))[:, None]

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


def _patch_vectors(model: Any, patches: torch.Tensor) -> torch.Tensor:
    return model(patches).pooler_output


def _example_sounds() -> tuple[list[Waveform], list[Waveform]]:
    """Two batches of noise that swells."""
    rng = np.random.default_rng(0)
    swell = np.linspace(0, 0.3, SAMPLE_RATE, dtype=np.float32)
    sounds = [rng.normal(0, 1, SAMPLE_RATE).astype(np.float32) * swell for _ in range(5)]
    return sounds[:2], sounds[2:]


def _long_enough(waveform: Waveform) -> Waveform:
    return np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform))))
