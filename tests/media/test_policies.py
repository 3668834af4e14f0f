from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avrec.media import groups, sweep
from avrec.media.cuts import cuts
from avrec.media.decode import decode
from avrec.media.groups import Groups
from avrec.media.sampling import Plan, Span, frame_times, joined, scenes
from tests.media.clips import tone, write_sound

SIZE = (64, 48)
CODED = [("libx264", "mp4"), ("mpeg4", "avi"), ("libx264", "mkv")]


def write_video(path, frames, *, fps=10, gop=12, codec="libx264", pix_fmt="yuv420p"):
    """Write frames with a keyframe every `gop`."""
    with av.open(path, "w") as out:
        height, width = frames[0].shape[:2]
        stream = out.add_stream(codec, rate=fps, width=width, height=height, pix_fmt=pix_fmt)
        stream.gop_size = gop
        if codec == "libx264":
            stream.options = {"x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=3"}
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())
    return path


def greys(count):
    return [np.full((*SIZE[::-1], 3), 2 * i + 20, np.uint8) for i in range(count)]


def shots(*lengths, seed=0):
    """Shots of so many frames each, every one a picture of its own that moves a little."""
    rng = np.random.default_rng(seed)
    frames = []
    for length in lengths:
        blocks = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
        frames += [np.roll(picture, i // 4, axis=1) for i in range(length)]
    return frames


def shown(clip):
    """Number of the frame that each taken picture is."""
    return np.rint((clip.frames.mean(axis=(1, 2, 3)) - 20) / 2).astype(int).tolist()


@pytest.mark.parametrize("gop", [1, 5, 12, 100])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi"), ("libx264", "mkv")]
)
def test_uniform_frames_are_those_on_screen_whatever_the_groups(tmp_path, gop, codec, suffix):
    path = write_video(tmp_path / f"a.{suffix}", greys(100), gop=gop, codec=codec)
    clip = decode(path, Plan(frames_per_segment=7))
    expected = np.floor(clip.frame_seconds * 10 + 1e-6)
    assert len(clip.frames) == 7
    np.testing.assert_allclose(shown(clip), expected, atol=1)


def test_groups_that_nobody_wants_are_not_decoded(tmp_path, monkeypatch):
    decoded = []
    offer = sweep.Pictures.offer
    monkeypatch.setattr(
        sweep.Pictures, "offer", lambda self, *frame: (decoded.append(frame), offer(self, *frame))
    )
    path = write_video(tmp_path / "a.mp4", greys(100), gop=5)
    clip = decode(path, Plan(frames_per_segment=2))
    assert shown(clip) == pytest.approx([25, 75], abs=1)
    assert len(decoded) <= 20


def test_sound_is_whole_where_groups_are_dropped(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as out:
        video = out.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        video.gop_size = 5
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        for picture in greys(100):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(video.encode())
        sound = av.AudioFrame.from_ndarray((tone(10)[None] * 32767).astype("i2"), "s16", "mono")
        sound.sample_rate = 16_000
        out.mux(audio.encode(sound))
        out.mux(audio.encode())
    clip = decode(path, Plan(frames_per_segment=1))
    assert len(clip.waveform) == pytest.approx(160_000, abs=3000)
    assert np.abs(clip.waveform[8000:148_000]).reshape(-1, 100).max(axis=1).min() > 0.3


def test_keyframes_are_the_last_at_or_before(tmp_path):
    path = write_video(tmp_path / "a.mp4", greys(100), gop=20)
    clip = decode(path, Plan(policy="keyframes", frames_per_segment=20))
    assert shown(clip) == pytest.approx([0, 20, 40, 60, 80], abs=1)


def test_scenes_end_at_cuts(tmp_path):
    path = write_video(tmp_path / "a.mp4", shots(40, 30, 50), gop=50)
    clip = decode(path, Plan(policy="scenes"))
    edges = [span.start_seconds for span in clip.spans]
    assert edges == pytest.approx([0, 4, 7], abs=0.11)
    assert clip.spans[-1].stop_seconds == pytest.approx(clip.duration_seconds)
    for span in clip.spans:
        frames = clip.frames_in(span).astype(int)
        assert len(frames)
        assert np.abs(frames - frames[0]).mean() < 40


def test_a_calm_film_is_one_scene_cut_up_evenly(tmp_path):
    clip = decode(
        write_video(tmp_path / "a.mp4", greys(100)),
        Plan(policy="scenes", segment_seconds=5, min_scene_seconds=1),
    )
    assert clip.spans == (Span(0, 5), Span(5, 10))


def test_sound_alone_has_equal_segments_whatever_the_policy(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(4))
    for policy in ("uniform", "keyframes", "scenes"):
        clip = decode(path, Plan(policy=policy, segment_seconds=2))
        assert clip.spans == (Span(0, 2), Span(2, 4))


def test_a_flash_is_no_scene(tmp_path):
    frames = shots(80)
    frames[40] = np.full_like(frames[40], 255)
    clip = decode(write_video(tmp_path / "a.mp4", frames), Plan(policy="scenes"))
    assert len(clip.spans) <= 2
    assert min(stop - start for start, stop in clip.spans) >= 2


@example(36.0, [1.6577973601041514, 34.48806448592767], 1.0, 1, 1.0)
@given(
    st.floats(0.1, 300),
    st.lists(st.floats(0, 300), max_size=40).map(sorted),
    st.floats(0.5, 20),
    st.integers(1, 9),
    st.floats(0.2, 8),
)
def test_every_segment_of_a_scene_has_a_frame(duration, changes, aim, count, shortest):
    plan = Plan(
        policy="scenes",
        segment_seconds=aim,
        frames_per_segment=count,
        min_scene_seconds=shortest,
        max_seconds=300,
    )
    spans = scenes(duration, changes, plan)
    times = frame_times(duration, plan)
    assert spans[0].start_seconds == 0
    assert spans[-1].stop_seconds == pytest.approx(duration)
    for before, after in pairwise(spans):
        assert before.stop_seconds == after.start_seconds
    for start, stop in spans:
        assert ((times >= start - 1e-9) & (times < stop + 1e-9)).any()
        assert stop - start <= 1.51 * aim


@given(st.lists(st.floats(0, 1), max_size=60))
def test_cuts_are_large_changes_only(changes):
    found = cuts(np.array(changes), 0.1)
    assert all(changes[at] >= 0.1 for at in found)


def test_steady_motion_is_no_cut():
    assert len(cuts(np.full(50, 0.3), 0.1)) == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 3)), max_size=20))
def test_joined_stretches_cover_the_same_and_stand_apart(starts):
    spans = [Span(start, start + length) for start, length in starts]
    whole = joined(spans)
    for before, after in pairwise(whole):
        assert after.start_seconds - before.stop_seconds >= 0.5
    for span in spans:
        assert any(one[0] <= span[0] and span[1] <= one[1] for one in whole)


class Packet:
    """A packet as far as `Groups` looks."""

    def __init__(self, key):
        self.is_keyframe, self.size = key, 1


class Context:
    def flush_buffers(self):
        pass


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.lists(st.floats(0, 60), min_size=1, max_size=6).map(sorted),
)
def test_a_wanted_frame_and_its_group_up_to_it_are_decoded(lengths, wanted):
    keys = np.repeat(np.arange(len(lengths)), lengths)
    held, due, left = Groups(Context()), [], list(wanted)
    for at, group in enumerate(keys):
        first = at == 0 or keys[at - 1] != group
        due += held.offer(Packet(first), float(at), left[0] if left else np.inf)
        while left and due and due[-1].seconds >= left[0]:
            left.pop(0)
    due += held.rest(left[0] if left else np.inf)
    decoded = {one.seconds for one in due}
    for moment in wanted:
        shown = int(min(moment, len(keys) - 1))
        start = int(np.flatnonzero(keys == keys[shown])[0])
        assert decoded >= set(range(start, shown + 1))


@pytest.mark.parametrize("wrong", [{"policy": "all"}, {"min_scene_seconds": 0}, {"frame_side": 0}])
def test_plans_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Plan(**wrong)


def test_a_plan_has_a_name_that_tells_it_from_others():
    plans = [
        Plan(),
        Plan(policy="keyframes"),
        Plan(policy="scenes"),
        Plan(policy="scenes", min_scene_seconds=3),
        Plan(frame_side=96),
    ]
    assert len({plan.key for plan in plans}) == len(plans)
    assert Plan(min_scene_seconds=3).key == Plan().key
    assert Plan().key.startswith("uniform-10-6-224-180-")


@pytest.mark.parametrize(("codec", "suffix"), CODED[:2])
def test_what_is_far_ahead_is_sought(tmp_path, monkeypatch, codec, suffix):
    path = write_video(tmp_path / f"a.{suffix}", greys(100), gop=5, codec=codec)
    plan, read = Plan(frames_per_segment=3), []
    offer = Groups.offer
    monkeypatch.setattr(
        Groups, "offer", lambda self, *packet: (read.append(packet), offer(self, *packet))[1]
    )
    whole = decode(path, plan)
    num_read = len(read)
    monkeypatch.setattr(groups, "JUMP_BYTES", 0)
    sought = decode(path, plan)
    np.testing.assert_array_equal(sought.frames, whole.frames)
    assert sought.duration_seconds == whole.duration_seconds
    assert len(read) - num_read < 0.75 * num_read
