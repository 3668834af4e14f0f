from itertools import islice

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avrec.media.decode import decode
from avrec.media.fingerprint import (
    HOP_SECONDS,
    align,
    fingerprint,
    hash_frames,
    hash_sound,
    same_frames,
)
from avrec.media.sampling import SAMPLE_RATE, Plan
from tests.media.clips import write_clip, write_sound

WORDS = hnp.arrays(np.uint32, st.integers(80, 200), elements=st.integers(1, 2**32 - 1))


def noise(rng, seconds):
    """Noise whose colour changes ten times a second, as music's does."""
    parts = [
        np.convolve(rng.standard_normal(1600), rng.standard_normal(40), mode="same")
        for _ in range(seconds * 10)
    ]
    return (0.05 * np.concatenate(parts)).clip(-1, 1).astype(np.float32)


def pictures(rng, count, height=90, width=160):
    coarse = rng.integers(0, 256, (count, 9, 10, 3))
    return np.kron(coarse, np.ones((1, height // 9, width // 10, 1))).astype(np.uint8)


def test_sound_is_known_again_softer_noisier_and_cut(rng):
    sound = noise(rng, 20)
    other = 0.3 * sound[3 * SAMPLE_RATE :] + 0.001 * rng.standard_normal(17 * SAMPLE_RATE)
    found = align(hash_sound(sound), hash_sound(other.astype(np.float32)))
    assert found.offset_seconds == pytest.approx(3, abs=HOP_SECONDS)
    assert found.agreement > 0.8


def test_sound_is_known_again_after_lossy_coding(rng, tmp_path):
    sound = noise(rng, 10)
    path = write_sound(tmp_path / "a.ogg", sound, codec="libopus")
    assert align(hash_sound(sound), fingerprint(decode(path, Plan())).sound).agreement > 0.8


def test_strangers_agree_by_chance_only(rng):
    found = align(hash_sound(noise(rng, 20)), hash_sound(noise(rng, 20)))
    assert found.agreement < 0.65


def test_silence_is_like_nothing(rng):
    silence = hash_sound(np.zeros(10 * SAMPLE_RATE, np.float32))
    assert not silence.any()
    assert np.isnan(align(silence, silence).agreement)
    assert np.isnan(align(silence, hash_sound(noise(rng, 10))).agreement)


def test_too_little_sound_has_no_words():
    assert len(hash_sound(np.ones(100, np.float32))) == 0
    assert np.isnan(align(hash_sound(np.ones(100, np.float32)), np.ones(99, np.uint32)).agreement)


@given(WORDS)
def test_a_sound_agrees_with_itself_at_once(words):
    found = align(words, words)
    assert found.offset_seconds == 0
    assert found.agreement == pytest.approx(1)


@given(WORDS, WORDS)
def test_alignment_is_the_same_both_ways(first, second):
    there, back = align(first, second), align(second, first)
    assert there.agreement == pytest.approx(back.agreement)
    assert 0 <= there.agreement <= 1


def test_frames_are_known_again_smaller_brighter_and_cropped(rng):
    frames = pictures(rng, 10)
    small = np.stack(
        [av.VideoFrame.from_ndarray(f, "rgb24").reformat(96, 54).to_ndarray() for f in frames]
    )
    for changed in (small, (0.8 * frames + 20).astype(np.uint8), frames[:, 2:-2, 3:-3]):
        assert same_frames(hash_frames(changed), hash_frames(frames)) == 1
    assert same_frames(hash_frames(pictures(rng, 10)), hash_frames(frames)) == 0


def test_flat_frames_are_like_nothing(rng):
    flat = hash_frames(np.full((3, 48, 64, 3), 90, np.uint8))
    assert not flat.any()
    assert np.isnan(same_frames(flat, flat))
    assert same_frames(hash_frames(pictures(rng, 2)), flat) == 0


def test_a_clip_gives_both(tmp_path):
    found = fingerprint(decode(write_clip(tmp_path / "clip.mp4", seconds=4), Plan()))
    assert len(found.frames) == len(found.frame_seconds) == 6
    assert len(found.sound) == pytest.approx((4 - 0.4) / HOP_SECONDS, abs=5)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), *[st.integers(1, 40)] * 2, st.just(3))))
def test_frames_of_any_size_have_a_hash_each(frames):
    assert hash_frames(frames).shape == (len(frames),)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bbb_480p_30s.mp4", "archery.mp4"])
def test_a_real_clip_is_known_again_when_coded_anew(shared, tmp_path, name):
    path = shared(f"media/video/{name}")
    with av.open(path) as source, av.open(tmp_path / "again.mkv", "w") as out:
        video = out.add_stream(
            "mpeg4",
            rate=round(source.streams.video[0].average_rate),
            width=320,
            height=180,
            pix_fmt="yuv420p",
        )
        for frame in islice(source.decode(video=0), 240):
            small = frame.reformat(320, 180).to_ndarray(format="rgb24")
            out.mux(video.encode(av.VideoFrame.from_ndarray(small)))
        out.mux(video.encode())
    plan = Plan(max_seconds=8)
    first, again = (fingerprint(decode(one, plan)) for one in (path, tmp_path / "again.mkv"))
    assert same_frames(again.frames, first.frames) >= 0.8
