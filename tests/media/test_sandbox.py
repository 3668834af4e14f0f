import av
import numpy as np
import pytest
import soundfile

from avrec.errors import ConfigError, MediaError
from avrec.media import limits
from avrec.media.decode import decode
from avrec.media.limits import Limits
from avrec.media.probe import digest, probe
from avrec.media.sampling import Plan
from avrec.media.sandbox import PROGRAM, Sandbox
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


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=1)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits()) as started:
        yield started


def test_gives_what_decoding_here_gives(clip, sandbox):
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
            with pytest.raises(MediaError, match=rf"{kind}: .*; (raise|leave)"):
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


def test_a_file_that_fails_still_has_its_hash(clip, tmp_path):
    page = tmp_path / "page.mp4"
    page.write_bytes(b"<html>")
    for path, program in [(page, PROGRAM), (clip, odd_child("os.abort()"))]:
        with Sandbox(Limits(), program) as sandbox, pytest.raises(MediaError) as caught:
            sandbox.probe(path)
        assert caught.value.sha256 == digest(path)


@pytest.mark.parametrize(
    "narrow",
    [
        {"max_hours": 1e-5},
        {"max_pixels": 1000},
        {"max_streams": 1},
    ],
)
def test_what_claims_too_much_is_refused_and_told_what_to_raise(clip, narrow):
    (name,) = narrow
    with Sandbox(Limits(**narrow)) as sandbox:
        for ask in (sandbox.probe, lambda path: sandbox.decode(path, Plan())):
            with pytest.raises(MediaError, match=f"too_large.*media.limits.{name}"):
                ask(clip)


def test_channels_are_limited(tmp_path):
    path = tmp_path / "many.wav"
    soundfile.write(path, np.zeros((1000, 12), np.float32), 16_000)
    with pytest.raises(MediaError, match=r"too_large.*max_channels"):
        probe(path, Limits(max_channels=8))
    assert probe(path).channels == 12


def test_a_file_that_swells_is_left(clip, monkeypatch):
    monkeypatch.setattr(limits, "FREE_OUTPUT_BYTES", 0)
    with pytest.raises(MediaError, match=r"too_large.*max_output_ratio"):
        decode(clip, Plan(), Limits(max_output_ratio=0.5))


def test_no_more_is_kept_than_is_allowed(tmp_path):
    path = tmp_path / "large.mp4"
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg4", rate=10, width=1024, height=768, pix_fmt="yuv420p")
        for grey in range(10):
            picture = np.full((768, 1024, 3), grey, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(stream.encode())
    with (
        Sandbox(Limits(max_output_mb=4)) as sandbox,
        pytest.raises(MediaError, match=r"too_large.*max_output_mb"),
    ):
        sandbox.decode(path, Plan(frame_side=768))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile 'clip.mp4'\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mpd", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>'),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
        ("page.mp4", "<!doctype html><video src=clip.mp4>"),
    ],
)
def test_a_file_that_names_others_is_refused(clip, sandbox, name, content):
    path = clip.with_name(name)
    path.write_text(content)
    with pytest.raises(MediaError, match="not_media"):
        sandbox.decode(path, Plan())


@pytest.mark.parametrize(
    "wrong", [{"max_redirects": -1}, {"timeout_seconds": 0}, {"memory_mb": 10}, {"max_file_mb": -1}]
)
def test_limits_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)
