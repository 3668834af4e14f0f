"""What an encoder is, how one is named in a configuration, and how one is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from avrec.arrays import Vectors
from avrec.embed import audio, text, visual

Modality = Literal["frames", "sound", "text"]
Input_contra = TypeVar("Input_contra", contravariant=True)

WEIGHTLESS: dict[str, Modality] = {
    "picture_moments": "frames",
    "sound_moments": "sound",
    "word_hashes": "text",
}
PRETRAINED: dict[str, Modality] = {
    "image_model": "frames",
    "whisper": "sound",
    "spectrogram_classifier": "sound",
    "spectrogram_transformer": "sound",
    "clap": "sound",
    "sentence_model": "text",
    "clip_text": "text",
    "clap_text": "text",
    "conse_sound": "sound",
    "conse_frames": "frames",
}
BRIDGES = ("conse_sound", "conse_frames")
KINDS = WEIGHTLESS | PRETRAINED
POLICIES = ("uniform", "keyframes", "scenes")
SAMPLING = (
    *("segment_seconds", "frames_per_segment", "frame_side", "max_seconds"),
    *("min_scene_seconds", "cut_threshold"),
)
PRECISIONS = {
    "torch": ("float32", "bf16"),
    "openvino": ("float32", "bf16", "int8"),
    "onnxruntime": ("float32", "int8"),
}
"""What each backend computes in."""
PLAIN = ("torch", "float32", False)


class Encoder(Protocol[Input_contra]):
    """Turns inputs of one modality into vectors of length `dim`.

    An input is one segment's frames, shape (num_frames, height, width, 3), uint8; its waveform,
    mono at 16 kHz; or an item's text. An input's vector does not depend on the others beside it.
    """

    name: str
    revision: str
    dim: int

    @property
    def modality(self) -> Modality:
        """What the inputs are."""
        ...

    def encode(self, inputs: Sequence[Input_contra]) -> Vectors:
        """Encode each input, in order, into finite float32 of shape (len(inputs), dim)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """One encoder of a run."""

    kind: str
    """Without weights: picture_moments, sound_moments, word_hashes. With a model: image_model
    (CLIP, SigLIP, MobileNet and others), whisper, spectrogram_classifier, spectrogram_transformer
    (AST), clap, sentence_model; clip_text (also SigLIP) and clap_text, whose texts share a space
    with the pictures of image_model and the sounds of clap; conse_sound and conse_frames, the
    classes of a spectrogram_classifier or an image classifier in the space of a sentence_model."""
    model: str = ""
    """Folder or Hugging Face hub id of the model; empty for an encoder without weights."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    words: str = ""
    """Folder or hub id of the sentence_model of conse_sound and conse_frames; else empty."""
    adapter: str = ""
    """Folder with `adapter_model.safetensors` and `adapter_config.json` of towers that trained the
    last layers of this sentence_model, copied from their version in the workspace; empty for the
    model as it is. Needs the extra `lora`."""
    batch_size: int = 16
    """Inputs that go through the model at once."""
    device: str = "cpu"
    """Where the model runs, such as `cpu` or `cuda`."""
    backend: str = "torch"
    """What runs the model: torch; on a CPU also openvino or onnxruntime (extras `openvino` and
    `onnx`)."""
    precision: str = "float32"
    """What the model computes in: float32, bf16 or int8; the fast ones must keep a cosine of .999
    to float32, which is checked when the model is loaded."""
    compile: bool = False
    """Whether torch compiles the model for its device, which takes a minute and pays on a GPU."""
    pool: str = ""
    """Name of the actors that run the model, which encoders may share; empty for those that
    decode."""
    num_actors: int = 1
    """Actors of a named pool."""
    num_cpus: float = 1.0
    """CPUs of each actor of a named pool."""
    num_gpus: float = 0.0
    """GPUs of each actor of a named pool; a share of one where several fit."""

    def __post_init__(self) -> None:
        _check_models(self)
        for name in ("batch_size", "num_actors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("num_cpus", "num_gpus"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        _check_speed(self)
        if not self.pool and self.room != (1, 1.0, 0.0):
            raise ValueError(
                "num_actors, num_cpus and num_gpus belong to a pool: name it in `pool`"
            )

    @property
    def modality(self) -> Modality:
        """What the encoder takes in."""
        return KINDS[self.kind]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that it loads."""
        return tuple(one for one in (self.model, self.words) if one)

    @property
    def room(self) -> tuple[int, float, float]:
        """What its pool takes: actors, and CPUs and GPUs of each."""
        return self.num_actors, self.num_cpus, self.num_gpus


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig:
    """How a catalogue is embedded."""

    encoders: tuple[EncoderConfig, ...] = field(
        default_factory=lambda: tuple(EncoderConfig(kind=kind) for kind in WEIGHTLESS)
    )
    """The encoders; all of them see one decoding of a file."""
    policy: str = "uniform"
    """Which frames are taken. `uniform`: evenly. `keyframes`: of those moments, the keyframe last
    on screen, which costs least. `scenes`: evenly, and segments end at cuts."""
    segment_seconds: float = 10.0
    """Aimed length of a segment; each encoder gives one vector a segment."""
    frames_per_segment: int = 6
    """Frames taken from each segment that has a picture."""
    frame_side: int = 224
    """Shorter side of the frames, pixels."""
    max_seconds: float = 180.0
    """How much of a clip is decoded, from its start."""
    min_scene_seconds: float = 2.0
    """A scene shorter than this is one with the scene before it; for `scenes`."""
    cut_threshold: float = 0.1
    """Least change from a frame to the next, from 0 to 1, that may be a cut; for `scenes`."""
    num_actors: int = 2
    """Ray actors that decode, each with every encoder that has no pool of its own."""
    num_decoders: int = 1
    """Decoding children of each actor, which decode side by side; several feed a GPU."""
    num_cpus: float = 1.0
    """CPUs of each actor."""
    num_gpus: float = 0.0
    """GPUs of each actor."""
    files_per_batch: int = 16
    """Files whose vectors are written as one part."""
    fingerprints: bool = True
    """Whether fingerprints of frames and sound are taken, by which near-duplicates are found."""
    thumbnails: bool = True
    """Whether a small picture of each clip is kept."""

    def __post_init__(self) -> None:
        if not self.encoders:
            raise ValueError("encoders must not be empty")
        _check_sampling(self)
        for name in ("num_actors", "num_decoders", "files_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        rooms: dict[str, tuple[int, float, float]] = {}
        for encoder in self.encoders:
            if rooms.setdefault(encoder.pool, encoder.room) != encoder.room:
                raise ValueError(f"encoders of pool {encoder.pool!r} must agree on its actors")


def _check_models(config: EncoderConfig) -> None:
    if config.kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)}, got {config.kind!r}")
    if config.adapter and config.kind != "sentence_model":
        raise ValueError(f"adapter belongs to a sentence_model, got kind {config.kind!r}")
    for name, needing in (("model", PRETRAINED), ("words", BRIDGES)):
        given = getattr(config, name)
        if bool(given) != (config.kind in needing):
            wants = f"takes no {name}" if given else f"needs {name}, a folder or hub id"
            raise ValueError(f"kind {config.kind!r} {wants}, got {given!r}")


def _check_speed(config: EncoderConfig) -> None:
    """Refuse what no backend does."""
    backend, precision = config.backend, config.precision
    if backend not in PRECISIONS:
        raise ValueError(f"backend must be one of {sorted(PRECISIONS)}, got {backend!r}")
    if precision not in PRECISIONS[backend]:
        allowed = ", ".join(PRECISIONS[backend])
        raise ValueError(f"precision with backend {backend!r} must be {allowed}, got {precision!r}")
    if backend != "torch" and (config.compile or config.device != "cpu"):
        raise ValueError(f"backend {backend!r} runs on device 'cpu' and compiles by itself")
    if config.kind in WEIGHTLESS and (backend, precision, config.compile) != PLAIN:
        raise ValueError(f"kind {config.kind!r} has no weights: leave backend and precision")


def _check_sampling(config: EmbedConfig) -> None:
    if config.policy not in POLICIES:
        raise ValueError(f"policy must be one of {POLICIES}, got {config.policy!r}")
    for name in SAMPLING:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be above 0, got {getattr(config, name)}")


def load_encoder(config: EncoderConfig) -> Encoder[Any]:
    """Load an encoder.

    Raises:
        InputError: its model is absent, or is none of that kind.
    """
    if config.kind == "picture_moments":
        return visual.PictureMoments()
    if config.kind == "sound_moments":
        return audio.SoundMoments()
    if config.kind == "word_hashes":
        return text.WordHashes()
    from avrec.embed import pretrained  # noqa: PLC0415 -- torch and transformers take seconds

    return pretrained.load(config)


def key(encoder: Encoder[Any]) -> str:
    """Name under which an encoder's vectors are kept."""
    return f"{encoder.name}@{encoder.revision}"


def key_of(config: EncoderConfig) -> str:
    """Name under which the vectors of an encoder are kept, without loading its weights.

    Raises:
        InputError: its model is absent.
    """
    if config.kind in WEIGHTLESS:
        return key(load_encoder(config))
    from avrec.embed import pretrained  # noqa: PLC0415 -- torch and transformers take seconds

    return pretrained.key_of(config)
