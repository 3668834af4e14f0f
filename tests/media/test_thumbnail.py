import io

import av
import numpy as np
import pytest

from avrec.media.decode import decode
from avrec.media.sampling import Plan
from avrec.media.thumbnail import jpeg, most_telling, thumbnail
from tests.media.clips import tone, write_clip, write_sound


def shown(content):
    with av.open(io.BytesIO(content)) as container:
        (frame,) = container.decode(video=0)
        return frame.to_ndarray(format="rgb24")


def test_a_clip_is_one_of_its_frames(tmp_path):
    clip = decode(write_clip(tmp_path / "clip.mp4"), Plan())
    assert shown(thumbnail(clip)).shape == (48, 64, 3)


def test_a_large_picture_is_made_small_and_stays_what_it_is():
    picture = np.zeros((400, 800, 3), np.uint8)
    picture[:, 400:, 0] = 250
    small = shown(jpeg(picture))
    assert small.shape == (80, 160, 3)
    assert small[40, 120] == pytest.approx([250, 0, 0], abs=25)
    assert small[40, 40] == pytest.approx([0, 0, 0], abs=25)


def test_the_frame_with_most_detail_tells_most(rng):
    frames = np.stack([np.full((20, 30, 3), grey, np.uint8) for grey in (0, 90, 255)])
    frames[1, 5:15, 5:15] = 200
    assert most_telling(frames) == 1


def test_sound_is_drawn_loud_where_it_is_loud(tmp_path):
    sound = np.concatenate([tone(1), np.zeros(16_000, np.float32)])
    drawn = shown(thumbnail(decode(write_sound(tmp_path / "a.wav", sound), Plan())))
    lit = (drawn[..., 0] > 120).sum(axis=0)
    assert drawn.shape == (90, 160, 3)
    assert lit[:75].min() > 60
    assert lit[85:].max() < 10


def test_the_smallest_clips_have_one():
    assert shown(jpeg(np.zeros((1, 1, 3), np.uint8))).shape == (1, 1, 3)


def test_a_frame_of_one_pixel_tells_as_much_as_another():
    assert most_telling(np.zeros((2, 1, 1, 3), np.uint8)) == 0
