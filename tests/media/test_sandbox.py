import numpy as np
import pytest

from avrec.errors import ConfigError, MediaError
from avrec.media.decode import decode
from avrec.media.limits import Limits
from avrec.media.probe import probe
from avrec.media.sampling import Plan
from avrec.media.sandbox import Sandbox
from tests.media.clips import write_clip

CHILD = """
import os, signal, time
import avrec.media.sandbox as sandbox
def {name}(path, *_):
    {body}
sandbox.{name} = {name}
sandbox.serve()
"""


def odd_child(body, name="probe"):
    return CHILD.format(name=name, body=body)


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", seconds=1)


def test_gives_what_decoding_here_gives(clip):
    with Sandbox(Limits()) as sandbox:
        assert sandbox.probe(clip) == probe(clip)
        there, here = sandbox.decode(clip, Plan()), decode(clip, Plan())
    np.testing.assert_array_equal(there.frames, here.frames)
    np.testing.assert_array_equal(there.waveform, here.waveform)
    np.testing.assert_array_equal(there.frame_seconds, here.frame_seconds)
    assert there.duration_seconds == here.duration_seconds


def test_errors_come_through_and_the_child_lives_on(clip, tmp_path):
    (tmp_path / "page.mp4").write_bytes(b"<html>")
    with Sandbox(Limits()) as sandbox:
        with pytest.raises(MediaError, match="not_media"):
            sandbox.probe(tmp_path / "page.mp4")
        assert sandbox.probe(clip).kind == "video"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("os.abort()", "crashed"),
        ("os._exit(3)", "crashed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
        ("time.sleep(60)", "timeout"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "timeout"),
        ("bytearray(8 << 30)", "too_large"),
        ("os.write(1, b'noise')", "crashed"),
    ],
)
def test_a_file_that_breaks_the_decoder_costs_one_row(clip, body, kind):
    if "noise" in body:
        body = "os.write(3, bytes([255] * 8)); os._exit(0)"
    with Sandbox(Limits(timeout_seconds=0.3), odd_child(body)) as sandbox:
        for _ in range(2):
            with pytest.raises(MediaError, match=kind):
                sandbox.probe(clip)


def test_a_broken_file_does_not_harm_the_next(clip):
    body = "return real(path) if path.name == 'clip.mp4' else os.abort()"
    program = odd_child(body).replace("def probe", "real = sandbox.probe\ndef probe")
    with Sandbox(Limits(), program) as sandbox:
        with pytest.raises(MediaError, match="crashed"):
            sandbox.probe(clip.with_name("other.mp4"))
        assert sandbox.probe(clip).kind == "video"


def test_a_child_that_cannot_start_is_no_fault_of_the_file(clip):
    sandbox = Sandbox(Limits(), "raise SystemExit(1)")
    with pytest.raises(ConfigError, match="memory_mb"):
        sandbox.probe(clip)


@pytest.mark.parametrize("wrong", [{"timeout_seconds": 0}, {"memory_mb": 10}, {"max_file_mb": -1}])
def test_limits_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)
