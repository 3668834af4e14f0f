"""Pictures and sounds of unusual kinds are seen and heard as what they are."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from avrec.media.decode import decode
from avrec.media.sampling import SAMPLE_RATE, Plan
from tests.media.clips import tone

KINDS = [
    ("libx264", "yuv420p", "ts", "mpegts"),
    ("libx264", "yuv444p10le", "mp4", None),
    ("libx264", "yuv420p", "h264", "h264"),
    ("libvpx-vp9", "yuv420p", "webm", None),
    ("flv1", "yuv420p", "flv", None),
    ("mjpeg", "yuvj422p", "avi", None),
    ("mpeg2video", "yuv420p", "mpg", "mpeg"),
    ("ffv1", "yuv422p10le", "mkv", None),
    ("ffv1", "bgr0", "mkv", None),
    ("gif", "rgb8", "gif", None),
    ("qtrle", "rgb24", "mov", None),
    ("prores_ks", "yuv422p10le", "mov", None),
]


def pictures(count):
    """Red above blue on the left; on the right a grey that grows by 6."""
    frames = np.zeros((count, 48, 64, 3), np.uint8)
    frames[:, :24, :32, 0] = 250
    frames[:, 24:, :32, 2] = 250
    frames[:, :, 32:] = 20 + 6 * np.arange(count)[:, None, None, None]
    return frames


def write(path, codec, pix_fmt, form, times=None):
    """Write 30 pictures, one in 0.1 seconds or at `times`."""
    with av.open(path, "w", format=form) as out:
        video = out.add_stream(codec, rate=10, width=64, height=48, pix_fmt=pix_fmt)
        for number, picture in enumerate(pictures(30)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode())
    return path


def greys(clip):
    return np.rint((clip.frames[:, :, 40:].mean(axis=(1, 2, 3)) - 20) / 6)


@pytest.mark.parametrize(("codec", "pix_fmt", "suffix", "form"), KINDS)
def test_colours_and_moments_are_right(tmp_path, codec, pix_fmt, suffix, form):
    path = write(tmp_path / f"a.{suffix}", codec, pix_fmt, form)
    clip = decode(path, Plan(frames_per_segment=3))
    assert clip.duration_seconds == pytest.approx(3, abs=0.25)
    assert clip.damaged == ()
    for frame in clip.frames:
        np.testing.assert_allclose(frame[8, 8], [250, 0, 0], atol=40)
        np.testing.assert_allclose(frame[40, 8], [0, 0, 250], atol=40)
    if suffix != "h264":  # which tells no time
        np.testing.assert_allclose(greys(clip), 10 * clip.frame_seconds, atol=1.1)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le"])
def test_grey_pictures_are_grey(tmp_path, pix_fmt):
    clip = decode(write(tmp_path / "a.mkv", "ffv1", pix_fmt, None), Plan(frames_per_segment=3))
    assert np.ptp(clip.frames, axis=3).max() <= 2
    np.testing.assert_allclose(greys(clip), [5, 15, 25], atol=1)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "mkv")])
def test_uneven_frame_rates_go_by_the_clock(tmp_path, codec, suffix):
    times = [*range(20), *range(20, 220, 20)]
    clip = decode(write(tmp_path / f"a.{suffix}", codec, "yuv420p", None, times), Plan())
    expected = [
        np.searchsorted(times, 10 * second, side="right") - 1 for second in clip.frame_seconds
    ]
    assert len(set(expected)) == len(expected)
    np.testing.assert_allclose(greys(clip), expected, atol=1)


@pytest.mark.parametrize("suffix", ["wav", "ogg"])
@pytest.mark.parametrize(
    ("channels", "speaker"), [(1, 0), (2, 1), (3, 0), (6, 2), (6, 4), (8, 6), (12, 0), (12, 11)]
)
def test_each_channel_is_heard(tmp_path, channels, speaker, suffix):
    path = tmp_path / f"a.{suffix}"
    sound = np.zeros((2 * SAMPLE_RATE, channels), np.float32)
    sound[:, speaker] = tone(2)
    soundfile.write(path, sound, SAMPLE_RATE)
    clip = decode(path, Plan())
    assert len(clip.waveform) == pytest.approx(2 * SAMPLE_RATE, abs=300)
    assert np.abs(clip.waveform).max() > 0.5 / (2 * channels)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_picture_is_set_upright(tmp_path, turn):
    with av.open(tmp_path / "a.mp4", "w") as out:
        video = out.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        video.set_display_rotation(turn)
        for picture in pictures(10):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(video.encode())
    (frame,) = decode(tmp_path / "a.mp4", Plan(frames_per_segment=1)).frames
    upright = np.rot90(pictures(10)[5], turn // 90)
    np.testing.assert_allclose(frame[4::16, 4::16], upright[4::16, 4::16], atol=20)
