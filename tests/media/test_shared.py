"""Every real and every broken file beside the project ends as it should."""

import json

import pytest

from avrec.errors import MediaError
from avrec.media.decode import decode
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.media.sandbox import Sandbox

KINDS = {
    "106-invalid-streaminfo.flac": "truncated",  # the block that tells rate and channels is zero
    "106-short-picture-block-size.flac": "truncated",  # a block's length leads past the sound
    "145-invalid-item-count.apev2": "not_media",  # tags only
    "brokentag.apev2": "not_media",
    "oldtag.apev2": "not_media",
    "id3v24_extended_header.id3": "not_media",
    "image.jpg": "not_media",  # a still picture
    "html_named.mp4": "not_media",
    "empty.ofr": "unsupported_codec",
    "empty.ofs": "unsupported_codec",
    "nero-chapters.m4b": "truncated",  # an index of 47 hours, and none of its sound
    "truncated-64bit.mp4": "truncated",  # an index, and no packet of what it tells of
    "without-id3.dsf": "truncated",  # half a block of two channels
    "truncated_moov_at_end.mp4": "truncated",
}
DAMAGED = {"bitflips.mp4", "truncated_faststart.mp4", "variable-block.flac", "Megamind.avi"}


@pytest.fixture(scope="module")
def outcomes(shared):
    root = shared("media/manifest.jsonl").parent
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    plan = Plan(frames_per_segment=2, max_seconds=20)
    with Sandbox(Limits()) as sandbox:
        return [(row, outcome(sandbox, root / row["path"], plan)) for row in rows]


def outcome(sandbox, path, plan):
    try:
        return sandbox.decode(path, plan)
    except MediaError as error:
        return error


@pytest.mark.slow
def test_each_file_that_cannot_be_decoded_has_its_kind(outcomes):
    found = {
        row["path"].rpartition("/")[2]: end.kind
        for row, end in outcomes
        if isinstance(end, MediaError)
    }
    assert found == KINDS
    assert all(end.sha256 for _, end in outcomes if isinstance(end, MediaError))


@pytest.mark.slow
def test_each_file_that_can_be_decoded_gives_what_it_claims(outcomes):
    for row, clip in outcomes:
        name = row["path"].rpartition("/")[2]
        if isinstance(clip, MediaError):
            continue
        assert bool(clip.damaged) == (name in DAMAGED), name
        assert len(clip.frames) or row.get("video_codec") in (None, "png", "mjpeg"), name
        assert len(clip.waveform) or row.get("audio_codec") is None, name
        if row["kind"] == "video":
            assert clip.duration_seconds == pytest.approx(min(row["duration_s"], 20), abs=0.2)


@pytest.mark.slow
def test_a_cut_film_says_what_is_missing(outcomes):
    (clip,) = (end for row, end in outcomes if row["path"].endswith("truncated_faststart.mp4"))
    (missing,) = clip.damaged
    assert missing.start_seconds == pytest.approx(11.9, abs=0.2)
    assert missing.stop_seconds == pytest.approx(30, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("Megamind.avi", [4.13, 6.46, 8.38]),  # seen by eye
        ("dj_video1.mp4", [6.0, 9.88]),
        ("bbb_480p_30s.mp4", [11.88, 15.75, 23.04]),
        ("archery.mp4", []),
    ],
)
def test_scenes_of_a_film_begin_where_one_sees_it(shared, name, cuts):
    plan = Plan(policy="scenes", segment_seconds=20, min_scene_seconds=1)
    clip = decode(shared(f"media/video/{name}"), plan)
    assert [span.start_seconds for span in clip.spans] == pytest.approx([0, *cuts], abs=0.1)
