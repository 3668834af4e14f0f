"""What is asked of the models that caption frames and read texts: models, closed lists, lengths."""

from dataclasses import dataclass, field
from typing import Literal, get_args

Precision = Literal["float32", "bf16"]
SAFE = "safe"
"""The word for content that no safety flag fits."""

TOPICS = (
    "music",
    "animals and nature",
    "sports",
    "film and animation",
    "comedy",
    "games",
    "news and politics",
    "education",
    "science",
    "technology",
    "business",
    "health and beauty",
    "food and cooking",
    "travel",
    "vehicles",
    "home and crafts",
    "history",
    "literature",
    "religion and holidays",
    "family and children",
)
MOODS = ("calm", "cheerful", "energetic", "funny", "dark", "sad", "tense", "romantic", "serious")
EMOTIONS = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")
AUDIENCES = ("small children", "teenagers", "adults", "students", "professionals")
FLAGS = ("violence", "sexual content", "hate", "self-harm", "drugs", "profanity")
ASPECTS = ("sound", "picture", "story", "performance", "information", "price", "length")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionsConfig:
    """Section `[describe.captions]`: one sentence on what is seen."""

    model: str = ""
    """Folder or Hugging Face hub id of an image-text model; empty writes no captions."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    device: str = "cpu"
    """Where the model runs, such as `cpu` or `cuda`."""
    precision: str = "float32"
    """Numbers that the model computes with: float32 or bf16."""
    frames: int = 3
    """Frames of a segment that are shown, evenly spaced."""
    max_side: int = 384
    """Longer side of the frames that are shown, pixels."""
    every_segment: bool = False
    """Whether each segment gets a caption, not only the clip as a whole."""
    max_new_tokens: int = 40
    """Length at which a caption is cut."""
    prompt: str = "Describe what is seen in one short sentence."
    """What the model is asked, if it can be asked."""

    def __post_init__(self) -> None:
        _check_precision(self.precision)
        _at_least_1(self, "frames", "max_side", "max_new_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig:
    """Section `[describe.language]`: one language-model pass over all that is known of an item."""

    model: str = ""
    """Folder or Hugging Face hub id of a chat model; empty leaves the pass out."""
    gguf_file: str = ""
    """Name of a GGUF file in it; empty where the model has safetensors. Needs `avrec[llm]`."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    device: str = "cpu"
    """Where the model runs, such as `cpu` or `cuda`."""
    precision: str = "float32"
    """Numbers that the model computes with: float32 or bf16."""
    max_tokens: int = 600
    """Tokens of what is known of an item that the model reads; more of the transcript is cut, so
    that its beginning, middle and end are left."""
    topics: tuple[str, ...] = TOPICS
    """What an item may be about."""
    max_topics: int = 3
    """Topics of an item at most."""
    min_share: float = 0.1
    """Probability from which a topic after the first is kept."""
    moods: tuple[str, ...] = MOODS
    """Moods of which an item gets one."""
    emotions: tuple[str, ...] = EMOTIONS
    """Emotions of which an item gets the one that it expresses most."""
    audiences: tuple[str, ...] = AUDIENCES
    """Audiences of which an item gets one."""
    flags: tuple[str, ...] = FLAGS
    """What may harm in an item."""
    min_flag: float = 0.5
    """Probability from which a flag is raised."""
    summary_tokens: int = 48
    """Length at which a summary is cut; 0 writes none."""
    num_actors: int = 1
    """Ray actors; each loads the model."""
    num_cpus: float = 1.0
    """CPUs of each actor."""
    num_gpus: float = 0.0
    """GPUs of each actor."""
    items_per_batch: int = 8
    """Items whose answers are written as one part."""

    def __post_init__(self) -> None:
        _check_precision(self.precision)
        _check_lists(self, "topics", "moods", "emotions", "audiences", "flags")
        _at_least_1(self, "max_tokens", "max_topics", "num_actors", "items_per_batch")
        if self.gguf_file and not self.model:
            raise ValueError(f"gguf_file {self.gguf_file!r} needs a model, its folder or hub id")
        if SAFE in self.flags:
            raise ValueError(f"flags must not name {SAFE!r}, which stands for none of them")
        if self.summary_tokens < 0:
            raise ValueError(f"summary_tokens must be at least 0, got {self.summary_tokens}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpinionsConfig:
    """Section `[describe.opinions]`: what people wrote of the items; read by the same model."""

    uri: str = ""
    """Table of comments or reviews (Parquet, CSV or JSON lines) with columns item_id, text and,
    where there are any, at and rating; empty where there is none."""
    columns: dict[str, str] = field(default_factory=dict)
    """The table's name for a column, where it is another one: `text = "review"`."""
    topics: tuple[str, ...] = ASPECTS
    """What a comment may be about."""
    max_tokens: int = 120
    """Tokens of a comment that the model reads."""
    min_share: float = 0.3
    """Probability from which a topic is kept."""
    neutral_below: float = 0.2
    """Score, without its sign, below which a comment is neutral."""

    def __post_init__(self) -> None:
        _check_lists(self, "topics")
        _at_least_1(self, "max_tokens")


def _check_precision(precision: str) -> None:
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")


def _check_lists(config: object, *names: str) -> None:
    """Refuse a list that leaves no choice, or names one thing twice."""
    for name in names:
        labels = getattr(config, name)
        if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):  # noqa: PLR2004
            raise ValueError(f"{name} must be two different words or more, got {list(labels)}")


def _at_least_1(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
