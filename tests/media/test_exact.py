"""Decoding what is wanted gives, to the bit, the frames that decoding everything gives."""

import av
import numpy as np
import pytest

from avrec.media import groups
from avrec.media.decode import decode
from avrec.media.sampling import Plan

OPEN = "open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3"
CODED = [
    ("libx264", {"x264-params": OPEN}, "mp4"),
    ("libx264", {"x264-params": OPEN}, "ts"),
    ("libx264", {"x264-params": "keyint=60:bframes=5:b-pyramid=normal"}, "mkv"),
    ("libx265", {"x265-params": f"log-level=none:{OPEN}"}, "mp4"),
    ("mpeg2video", {"bf": "2", "g": "12"}, "mpg"),
    ("mpeg4", {"bf": "2", "g": "12"}, "avi"),
    ("libvpx-vp9", {"g": "30"}, "webm"),
]


def write(path, codec, options):
    """Write 12 seconds of a bar that moves over a grey that grows."""
    with av.open(path, "w") as out:
        video = out.add_stream(codec, rate=10, width=64, height=48, pix_fmt="yuv420p")
        video.options = options
        for number in range(120):
            picture = np.full((48, 64, 3), 20 + number, np.uint8)
            picture[:, 3 * number % 60 :][:, :4] = 255
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(video.encode())
    return path


def on_screen(path, moments):
    """Decode everything, and give the frame that each moment shows."""
    with av.open(path) as container:
        start = (container.start_time or 0) / av.time_base
        frames = [(f.time - start, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    times = [time for time, _ in frames]
    return [frames[np.searchsorted(times, one, side="right") - 1][1] for one in moments]


@pytest.mark.parametrize("jump_bytes", [0, 1 << 20])
@pytest.mark.parametrize(("codec", "options", "suffix"), CODED)
def test_frames_are_the_same_to_the_bit(tmp_path, monkeypatch, codec, options, suffix, jump_bytes):
    monkeypatch.setattr(groups, "JUMP_BYTES", jump_bytes)
    path = write(tmp_path / f"a.{suffix}", codec, options)
    for count in (1, 4, 9, 31):
        clip = decode(path, Plan(segment_seconds=20, frames_per_segment=count))
        assert len(clip.frames) == count
        assert clip.damaged == ()
        expected = on_screen(path, clip.frame_seconds)
        np.testing.assert_array_equal(clip.frames, expected)
