"""Opening a file with FFmpeg, under our rules: local files, known formats, no protocols.

Formats are named in a list of those that are let in, so playlists, concatenation scripts, image
sequences and devices are refused before FFmpeg reads a byte for them.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from avrec.errors import MediaError
from avrec.media.limits import Limits

FORMATS = (
    "3gp,aac,ac3,adts,aiff,amr,amrnb,amrwb,ape,asf,au,av1,avi,caf,dsf,dts,dv,eac3,flac,flv,gif,gxf,"
    "h264,hevc,iff,ivf,loas,m4v,matroska,mj2,mlp,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,"
    "nut,obu,oga,ogg,oma,rm,tak,truehd,tta,vc1,voc,vvc,w64,wav,wc3movie,webm,wtv,wv,xwma,yuv4mpegpipe"
)
SIGNATURES = {
    (0, b"OggS"): "Ogg",
    (0, b"fLaC"): "FLAC",
    (0, b"RIFF"): "RIFF",
    (0, b"FORM"): "AIFF",
    (0, b"FRM8"): "DSDIFF",
    (0, b"DSD "): "DSF",
    (0, b"MAC "): "Monkey's Audio",
    (0, b"wvpk"): "WavPack",
    (0, b"tBaK"): "TAK",
    (0, b"MPCK"): "Musepack",
    (0, b"\x1aE\xdf\xa3"): "Matroska",
    (0, b"0&\xb2u\x8ef\xcf\x11"): "ASF",
    (0, b"FLV\x01"): "FLV",
    (4, b"ftyp"): "MP4",
    (4, b"moov"): "MP4",
    (4, b"mdat"): "MP4",
}
NO_DECODER = {(0, b"OFR "): "OptimFROG"}
CONVERT = "convert it, such as to MP4 with H.264 and AAC"
AGAIN = "fetch or export it again"
LEAVE_OUT = "leave it out"
NO_MEMORY = "it needs more memory than media.limits.memory_mb; raise that if you trust it"
INDEXED = ("mov", "avi", "matroska")
PICTURE = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
MIN_BITS_PER_SECOND = 100
"""A length that would leave fewer bits for a second than this is no length but damage."""
MICROSECOND = 1e-6
HOUR_SECONDS = 3600


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a local file.

    Raises:
        MediaError: it is no media that FFmpeg reads, or it is cut short before its index.
    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        stream = path.open("rb")
    except OSError as error:
        raise MediaError("fetch_failed", f"cannot read {path.name}: {error.strerror}") from error
    with stream:
        try:
            container = av.open(stream, options=options)
        except MemoryError as error:
            raise MediaError("too_large", NO_MEMORY) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise refusal(path) from error
        with container:
            yield container


def refusal(path: Path) -> MediaError:
    """Say why FFmpeg would not open a file, from how the file begins."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        return MediaError("fetch_failed", f"cannot read {path.name}: {error.strerror}")
    if form := _known(head, NO_DECODER):
        return MediaError("unsupported_codec", f"{path.name} is {form}; {CONVERT}")
    if form := _known(head, SIGNATURES):
        return MediaError(
            "truncated", f"{path.name} begins as {form} but is cut short or damaged; {AGAIN}"
        )
    why = "no audio or video of a known format" if head else "empty"
    return MediaError("not_media", f"{path.name} is {why}; {LEAVE_OUT}")


def picture_and_sound(
    container: InputContainer,
) -> tuple[av.VideoStream | None, av.AudioStream | None]:
    """First moving picture and first sound that can be decoded; cover pictures do not count.

    Raises:
        MediaError: there is no such stream.
    """
    videos = [stream for stream in container.streams.video if not stream.disposition & PICTURE]
    streams = [*videos, *container.streams.audio]
    form = container.format.name
    known = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise MediaError("not_media", f"{form} without sound or moving picture; {LEAVE_OUT}")
    if not known:
        raise MediaError("unsupported_codec", f"{form} in a codec unknown here; {CONVERT}")
    video = next((stream for stream in known if stream.type == "video"), None)
    audio = next((stream for stream in known if stream.type == "audio"), None)
    return video, audio


def promised_seconds(streams: list[av.stream.Stream]) -> float:
    """Timestamp of the last packet that the index of a file tells of; 0 where it has none."""
    ends = [float(s.index_entries[-1].timestamp * s.time_base) for s in streams if s.index_entries]
    return max(ends, default=0.0)


def indexed(container: InputContainer) -> bool:
    """Whether the index tells keyframes; that of a stream such as MPEG's tells any packet."""
    return container.format.name.split(",")[0] in INDEXED


def check(container: InputContainer, limits: Limits) -> None:
    """Refuse what claims to be beyond the limits.

    Raises:
        MediaError: of kind too_large.
    """
    for what, name, amount in (
        ("hours", "max_hours", (duration_seconds(container) or 0.0) / HOUR_SECONDS),
        ("streams", "max_streams", len(container.streams)),
        ("pixels", "max_pixels", max(map(_pixels, container.streams.video), default=0)),
        ("channels", "max_channels", max(map(_channels, container.streams.audio), default=0)),
    ):
        most = getattr(limits, name)
        if amount > most:
            raise MediaError(
                "too_large",
                f"it claims {amount:g} {what}, above {most:g}; raise media.limits.{name} "
                "if you trust it",
            )


def duration_seconds(container: InputContainer) -> float | None:
    """Length that the file claims, or None where it claims none that can be believed."""
    if not container.duration or container.duration < 0:
        return None
    seconds = container.duration * MICROSECOND
    bits = 8 * max(container.size, 0)
    return seconds if math.isfinite(seconds) and bits >= MIN_BITS_PER_SECOND * seconds else None


def start_seconds(container: InputContainer) -> float:
    """Timestamp of the beginning."""
    return (container.start_time or 0) * MICROSECOND


def _pixels(stream: av.VideoStream) -> int:
    context: av.VideoCodecContext | None = stream.codec_context  # None: a codec unknown here
    return context.width * context.height if context is not None else 0


def _channels(stream: av.AudioStream) -> int:
    context: av.AudioCodecContext | None = stream.codec_context
    return context.layout.nb_channels if context is not None else 0


def _known(head: bytes, signatures: dict[tuple[int, bytes], str]) -> str | None:
    for (at, magic), form in signatures.items():
        if head[at : at + len(magic)] == magic:
            return form
    return None
