"""How a catalogue is described. A describer without a model is left out."""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from avrec.embed.describe.language_config import (
    MOODS,
    CaptionsConfig,
    LanguageConfig,
    OpinionsConfig,
)

SUBJECTS = (
    *("a person talking to the camera", "people in conversation", "a crowd", "a child"),
    *("a concert", "a musical instrument", "dancing", "a sports match", "exercise", "a game"),
    *("an animal", "a bird", "plants and flowers", "a landscape", "the sea", "the sky", "space"),
    *("a city street", "a building", "a room", "a vehicle", "a machine", "a screen with text"),
    *("food", "cooking", "make-up and fashion", "a toy", "crafts and tools", "a laboratory"),
    *("a drawing or animation", "a video game", "a slide of a lecture", "a news studio"),
    *("a fight or a weapon", "a ceremony", "a black picture"),
)
RULES = 3
"""Goes up when the same weights and settings give other rows of the same clip."""
ELSEWHERE = frozenset({"device", "batch_size", "model", "revision", "voice_model", "words_model"})
"""Settings that change nothing, or that the fingerprint of the weights stands for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechConfig:
    """Section `[describe.speech]`: who speaks when, and what is said."""

    model: str = ""
    """Folder or Hugging Face hub id of a Whisper model; empty writes no transcripts."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    device: str = "cpu"
    """Where the model runs, such as `cpu` or `cuda`."""
    batch_size: int = 8
    """Windows of at most 30 s that go through the model at once."""
    voice_model: str = ""
    """ONNX file of Silero VAD, or its folder, which needs `avrec[onnx]`; empty listens for changing
    energy in the band of voices, which takes music for speech."""
    voice_threshold: float = 0.5
    """Probability of speech from which a span begins; one ends 0.15 below it."""
    min_speech_seconds: float = 0.1
    """Spans of speech shorter than this are dropped."""
    min_pause_seconds: float = 0.3
    """Pauses shorter than this do not end a span."""
    pad_seconds: float = 0.2
    """What is added to both ends of a span."""
    language: str = ""
    """Code of the language, such as `en`; empty lets the model tell."""
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Tried in turn until a window's text passes the two checks that follow."""
    max_compression: float = 2.4
    """Ratio of the text's length to its length compressed, above which it repeats itself."""
    min_logprob: float = -1.0
    """Mean log probability of a token below which the text is doubted."""
    max_no_speech: float = 0.6
    """Probability of no speech above which a doubted text is dropped."""

    def __post_init__(self) -> None:
        _shares(self, "voice_threshold", "max_no_speech")
        _at_least(self, 1, "batch_size")
        _at_least(self, 0, "min_speech_seconds", "min_pause_seconds", "pad_seconds")
        if not self.temperatures or min(self.temperatures) < 0:
            raise ValueError(f"temperatures must be some from 0 on, got {self.temperatures}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundsConfig:
    """Section `[describe.sounds]`: what is heard in each segment, and what kind of music."""

    model: str = ""
    """Folder or hub id of a classifier of log-mel patches such as YAMNet; empty writes no tags."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    device: str = "cpu"
    """Where the model runs, such as `cpu` or `cuda`."""
    batch_size: int = 16
    """Patches that go through the model at once."""
    threshold: float = 0.1
    """Probability from which a label is kept."""
    genre_threshold: float = 0.02
    """The same for genres, moods and uses of music, of which a model is seldom sure, where it is
    music at all."""
    top: int = 5
    """Labels of a segment and kind at most."""

    def __post_init__(self) -> None:
        _shares(self, "threshold", "genre_threshold")
        _at_least(self, 1, "batch_size", "top")


@dataclass(frozen=True, kw_only=True, slots=True)
class FramesConfig:
    """Section `[describe.frames]`: which of the labels fit the frames of each segment."""

    model: str = ""
    """Folder or hub id of a model with an image and a text tower (CLIP, SigLIP), or of any image
    classifier, whose class names stand in for what it sees; empty writes no tags."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    words_model: str = ""
    """Folder or hub id of a sentence model, which relates the classes of an image classifier to
    the labels; empty gives the classes themselves. Not for models with a text tower."""
    device: str = "cpu"
    """Where the models run, such as `cpu` or `cuda`."""
    batch_size: int = 16
    """Frames that go through the model at once."""
    subjects: tuple[str, ...] = SUBJECTS
    """What may be seen."""
    subject_template: str = "a photo of {}."
    """Sentence that a subject is put into."""
    moods: tuple[str, ...] = MOODS
    """How it may feel."""
    mood_template: str = "a {} scene."
    """Sentence that a mood is put into."""
    threshold: float = 0.2
    """Score from which a label is kept."""
    top: int = 3
    """Labels of a segment and list at most."""

    def __post_init__(self) -> None:
        _shares(self, "threshold")
        _at_least(self, 1, "batch_size", "top")
        for name in ("subject_template", "mood_template"):
            if "{}" not in getattr(self, name):
                raise ValueError(f"{name} must hold {{}}, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyConfig:
    """Section `[describe.safety]`: harmful content of the frames of each segment."""

    model: str = ""
    """Folder or hub id of an image classifier of harmful content; empty writes no scores."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    device: str = "cpu"
    """Where the model runs, such as `cpu` or `cuda`."""
    batch_size: int = 16
    """Frames that go through the model at once."""
    thresholds: dict[str, float] = field(
        default_factory=lambda: {"porn": 0.5, "hentai": 0.5, "sexy": 0.7}
    )
    """Mean score of a segment's frames from which an item is flagged, by class in small
    letters."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "batch_size")
        for label, threshold in self.thresholds.items():
            if not 0 < threshold <= 1 or label != label.lower():
                raise ValueError(f"thresholds must be small letters = (0, 1], got {label!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeConfig:
    """Section `[describe]`."""

    speech: SpeechConfig = field(default_factory=SpeechConfig)
    """Section `[describe.speech]`."""
    sounds: SoundsConfig = field(default_factory=SoundsConfig)
    """Section `[describe.sounds]`."""
    frames: FramesConfig = field(default_factory=FramesConfig)
    """Section `[describe.frames]`."""
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    """Section `[describe.safety]`."""
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    """Section `[describe.captions]`."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """Section `[describe.language]`."""
    opinions: OpinionsConfig = field(default_factory=OpinionsConfig)
    """Section `[describe.opinions]`."""

    def __post_init__(self) -> None:
        if self.opinions.uri and not self.language.model:
            raise ValueError(
                f"language.model must be set to read opinions.uri {self.opinions.uri!r}"
            )


SignalConfig = SpeechConfig | SoundsConfig | FramesConfig | SafetyConfig | CaptionsConfig


def settings_digest(config: SignalConfig, *without: str) -> str:
    """Short fingerprint of our rules, and of the settings that change what is found.

    Settings of the names `without` are left out.
    """
    left_out = ELSEWHERE | set(without)
    kept = {name: value for name, value in asdict(config).items() if name not in left_out}
    return hashlib.sha256(json.dumps([RULES, kept], sort_keys=True).encode()).hexdigest()[:8]


def _shares(config: SignalConfig, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {getattr(config, name)}")


def _at_least(config: SignalConfig, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(config, name)}")
