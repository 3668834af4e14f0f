"""Files with bytes changed, cut out or repeated end as a clip or as an error of a known kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrec.errors import MediaError
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.media.sandbox import Sandbox
from tests.media.clips import tone, write_clip, write_song_with_cover, write_sound

KINDS = {"not_media", "truncated", "unsupported_codec", "too_large", "timeout", "crashed"}
LIMITS = Limits(timeout_seconds=10, memory_mb=1024, max_output_mb=64)
NAMES = ("clip.mp4", "clip.mkv", "clip.avi", "song.mp4", "sound.ogg", "sound.flac", "sound.wav")
HARM = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "repeat", "zero"]), st.floats(0, 1), st.integers(1, 255)
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for suffix in ("mp4", "mkv", "avi"):
        write_clip(folder / f"clip.{suffix}", seconds=1)
    write_song_with_cover(folder / "song.mp4")
    for suffix, codec in (("ogg", "libopus"), ("flac", "flac"), ("wav", "pcm_s16le")):
        write_sound(folder / f"sound.{suffix}", tone(1), codec=codec)
    return {name: (folder / name).read_bytes() for name in NAMES}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as one:
        yield one


def harmed(content, harm):
    content = bytearray(content)
    for what, where, how in harm:
        at = int(where * len(content))
        if what == "flip":
            content[at : at + 1] = bytes(byte ^ how for byte in content[at : at + 1])
        elif what == "cut":
            del content[at : at + how]
        elif what == "repeat":
            content[at:at] = content[at : at + how]
        else:
            content[at : at + how] = bytes(len(content[at : at + how]))
    return bytes(content)


def outcome(sandbox, path, plan):
    try:
        return sandbox.decode(path, plan)
    except MediaError as error:
        return error


def ends_well(sandbox, path):
    for policy in ("uniform", "scenes"):
        end = outcome(sandbox, path, Plan(policy=policy, max_seconds=5))
        if isinstance(end, MediaError):
            assert end.kind in KINDS
            assert end.sha256
        else:
            is_whole(end)


def is_whole(clip):
    assert len(clip.frames) == len(clip.frame_seconds)
    assert len(clip.frames) or len(clip.waveform)
    assert np.isfinite(clip.waveform).all()
    assert 0 < clip.duration_seconds <= 5.5
    assert clip.spans[0].start_seconds == 0
    assert (np.diff(clip.frame_seconds) > 0).all()
    assert sum(len(clip.frames_in(span)) for span in clip.spans) == len(clip.frames)
    assert np.isfinite(clip.damaged).all()


@given(name=st.sampled_from(NAMES), harm=HARM)
def test_a_harmed_file_ends_well(originals, sandbox, tmp_path_factory, name, harm):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(harmed(originals[name], harm))
    ends_well(sandbox, path)


@pytest.mark.slow
@settings(max_examples=1500)
@given(name=st.sampled_from(NAMES), harm=HARM)
def test_many_harmed_files_end_well(originals, sandbox, tmp_path_factory, name, harm):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(harmed(originals[name], harm))
    ends_well(sandbox, path)
