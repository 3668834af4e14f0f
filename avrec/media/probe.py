"""What a media file holds, from its headers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import soundfile

from avrec.errors import MediaError
from avrec.media.container import check, duration_seconds, opened, picture_and_sound
from avrec.media.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFacts:
    """What is known of a file without decoding it; None is unknown or not there."""

    kind: Literal["audio", "video"]
    sha256: str
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    frames_per_second: float | None = None
    sample_rate: int | None = None
    channels: int | None = None


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaFacts:
    """Read a local file's headers, and hash it.

    Raises:
        MediaError: it holds no sound or moving picture that can be decoded here, or
            is beyond a limit.
    """
    try:
        with opened(path) as container:
            check(container, limits)
            return _facts(container, digest(path))
    except MediaError as error:
        if error.kind == "too_large":
            raise
        found = _sound_file_facts(path)
        if found is None:
            raise
        return found


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _facts(container: av.container.InputContainer, sha256: str) -> MediaFacts:
    video, audio = picture_and_sound(container)
    rate = video.average_rate or video.guessed_rate if video else None
    return MediaFacts(
        kind="video" if video else "audio",
        sha256=sha256,
        duration_seconds=duration_seconds(container),
        width=video.codec_context.width or None if video else None,
        height=video.codec_context.height or None if video else None,
        frames_per_second=float(rate) if rate else None,
        sample_rate=audio.codec_context.sample_rate or None if audio else None,
        channels=audio.codec_context.layout.nb_channels if audio else None,
    )


def _sound_file_facts(path: Path) -> MediaFacts | None:
    """Facts by libsndfile, which reads some files that FFmpeg refuses; None where it cannot."""
    try:
        with soundfile.SoundFile(path) as sound:
            return MediaFacts(
                kind="audio",
                sha256=digest(path),
                duration_seconds=sound.frames / sound.samplerate,
                sample_rate=sound.samplerate,
                channels=sound.channels,
            )
    except (soundfile.LibsndfileError, OSError, TypeError):  # TypeError: named .raw
        return None
