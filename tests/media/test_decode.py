import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.errors import MediaError
from avrec.media.decode import decode
from avrec.media.probe import probe
from avrec.media.sampling import SAMPLE_RATE, Plan, midpoints, segments
from avrec.media.taking import Sound, scaled
from tests.media.clips import tone, write_clip, write_song_with_cover, write_sound


def loudest_hz(waveform):
    spectrum = np.abs(np.fft.rfft(waveform))
    return np.argmax(spectrum) * SAMPLE_RATE / len(waveform)


def test_takes_the_frames_on_screen_at_the_midpoints(tmp_path):
    clip = decode(write_clip(tmp_path / "clip.mp4"), Plan(frames_per_segment=4))
    np.testing.assert_allclose(clip.frame_seconds, [0.25, 0.75, 1.25, 1.75], atol=0.06)
    shown = 10 * np.floor(10 * clip.frame_seconds)
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)), shown, atol=4)


def test_takes_the_sound_as_mono_at_16_khz(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(1.5, 660, rate=44_100), rate=44_100)
    clip = decode(path, Plan())
    assert len(clip.waveform) / SAMPLE_RATE == pytest.approx(1.5, abs=0.01)
    assert loudest_hz(clip.waveform) == pytest.approx(660, abs=1)
    assert clip.frames.shape[0] == 0


def test_sound_of_a_clip_lies_beside_its_picture(tmp_path):
    clip = decode(write_clip(tmp_path / "clip.mp4"), Plan())
    assert loudest_hz(clip.waveform) == pytest.approx(440, abs=2)
    assert clip.duration_seconds == pytest.approx(2.0, abs=0.2)


def test_decodes_no_more_than_is_asked(tmp_path):
    clip = decode(write_clip(tmp_path / "clip.mp4"), Plan(max_seconds=1.0, segment_seconds=1.0))
    assert len(clip.waveform) == SAMPLE_RATE
    assert clip.frame_seconds.max() < 1.0


def test_few_frames_are_taken_once_each(tmp_path):
    clip = decode(write_clip(tmp_path / "clip.mp4", seconds=1), Plan(frames_per_segment=50))
    assert len(clip.frames) == 10


def test_segments_share_frames_and_sound_by_time(tmp_path):
    clip = decode(write_clip(tmp_path / "clip.mp4"), Plan(segment_seconds=1, frames_per_segment=3))
    assert [len(clip.frames_in(span)) for span in clip.spans] == [3, 3]
    assert sum(len(clip.sound_in(span)) for span in clip.spans) == len(clip.waveform)


def test_a_cut_file_gives_what_it_holds(tmp_path):
    whole = write_clip(tmp_path / "clip.mkv", seconds=8).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    clip = decode(tmp_path / "cut.mkv", Plan())
    assert 1 < clip.duration_seconds < 7
    assert len(clip.frames) > 0


def test_sound_may_come_before_the_picture_in_a_file(tmp_path):
    with av.open(tmp_path / "a.mkv", "w") as out:
        audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        video = out.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        frame = av.AudioFrame.from_ndarray(tone(2)[None], "fltp", "mono")
        frame.sample_rate = SAMPLE_RATE
        out.mux([*audio.encode(frame), *audio.encode()])
        for grey in range(20):
            picture = np.full((48, 64, 3), 10 * grey, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(video.encode())
    clip = decode(tmp_path / "a.mkv", Plan(frames_per_segment=4))
    assert len(clip.waveform) / SAMPLE_RATE == pytest.approx(2, abs=0.1)
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)), [20, 70, 120, 170], atol=12)


def test_sound_stays_beside_its_picture_where_a_piece_is_lost():
    sound = Sound(3 * SAMPLE_RATE)
    for second in (0, 2):
        frame = av.AudioFrame.from_ndarray(tone(1)[None], "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        sound.offer(frame, float(second))
    sound.finish()
    heard = np.abs(sound.waveform()).reshape(30, -1).max(axis=1) > 0.1
    np.testing.assert_array_equal(heard, [True] * 10 + [False] * 10 + [True] * 10)


def test_a_turned_picture_is_set_upright(tmp_path):
    plan = Plan(frames_per_segment=1)
    upright = decode(write_clip(tmp_path / "turned.mp4", turn=90), plan).frames[0]
    assert upright.shape[:2] == (64, 48)
    bottom_minus_top = float(upright[40:].mean()) - float(upright[:24].mean())
    assert abs(bottom_minus_top) > 50


def test_a_cover_picture_makes_no_video(tmp_path):
    path = write_song_with_cover(tmp_path / "song.mp4")
    assert probe(path).kind == "audio"
    assert len(decode(path, Plan()).frames) == 0


def test_probe_tells_the_facts(tmp_path):
    facts = probe(write_clip(tmp_path / "clip.mp4"))
    assert (facts.kind, facts.width, facts.height) == ("video", 64, 48)
    assert (facts.frames_per_second, facts.sample_rate, facts.channels) == (10, SAMPLE_RATE, 1)
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert len(facts.sha256) == 64


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("empty.mp4", b"", "not_media"),
        ("page.mp4", b"<html><body>404</body></html>", "not_media"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not_media"),
        ("list.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "not_media"),
        ("cut.mp4", b"\0\0\0\x20ftypisom" + bytes(40), "truncated"),
        ("cut.flac", b"fLaC" + bytes(60), "truncated"),
        ("song.ofr", b"OFR " + bytes(60), "unsupported_codec"),
    ],
)
def test_what_is_no_media_is_refused_with_its_kind(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    for read in (probe, lambda path: decode(path, Plan())):
        with pytest.raises(MediaError) as caught:
            read(tmp_path / name)
        assert caught.value.kind == kind
        assert name in caught.value.message


def test_an_absent_file_could_not_be_fetched(tmp_path):
    with pytest.raises(MediaError, match="fetch_failed"):
        probe(tmp_path / "gone.mp4")


@given(st.floats(0.01, 1e4), st.floats(0.5, 60))
def test_segments_cover_the_clip_evenly(duration, length):
    spans = segments(duration, length)
    lengths = [stop - start for start, stop in spans]
    assert spans[0].start_seconds == 0
    assert spans[-1].stop_seconds == pytest.approx(duration)
    assert max(lengths) == pytest.approx(min(lengths), rel=1e-6)
    assert max(lengths) <= 1.51 * length


@given(st.floats(0.01, 1e4), st.integers(1, 50))
def test_midpoints_lie_within(duration, count):
    times = midpoints(duration, count)
    assert len(times) == count
    assert 0 < times.min() <= times.max() < duration


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 512))
def test_scaled_pictures_are_bounded_and_never_larger(width, height, side):
    small = scaled(width, height, side)
    assert max(small) <= 4 * side
    assert 1 <= small[0] <= width
    assert 1 <= small[1] <= height
