"""Captions by a model with random weights: what counts is who is asked, how often, and of what."""

import pytest

from avrec.catalogue import merge
from avrec.distributed.describe_clips import describe_clips
from avrec.distributed.probe import probe_all
from avrec.embed.describe.config import DescribeConfig
from avrec.embed.describe.language_config import CaptionsConfig
from avrec.ledger import held
from avrec.media.files import MediaConfig, expand
from avrec.media.limits import Limits
from avrec.media.sampling import Plan
from avrec.schema import MEDIA
from avrec.store import place
from tests.embed.describe.test_captions import save_blip
from tests.media.clips import tone, write_clip, write_sound

PLAN = Plan(segment_seconds=1, frames_per_segment=2, frame_side=48)


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return save_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "one.mp4", seconds=1)
    (folder / "same.mp4").write_bytes((folder / "one.mp4").read_bytes())
    write_clip(folder / "two.mp4", seconds=2)
    write_sound(folder / "tone.wav", tone(1))
    config = MediaConfig(inputs=(str(folder),))
    return merge(None, probe_all(expand(config.inputs).files, config)).media


def described(media, root, model, **settings):
    config = DescribeConfig(captions=CaptionsConfig(model=model, max_new_tokens=4, **settings))
    return describe_clips(media, config, PLAN, Limits(), place(str(root)), num_actors=1)


def test_every_item_with_a_picture_has_a_caption(local_ray, media, blip, tmp_path):
    rows = described(media, tmp_path, blip).tables["captions"].to_pylist()
    assert [row["item_id"] for row in rows] == ["one.mp4", "same.mp4", "two.mp4"]
    assert rows[0]["text"] == rows[1]["text"]
    assert rows[2]["stop_seconds"] == pytest.approx(2, abs=0.2)


def test_a_rerun_adds_nothing_and_a_new_describer_its_part(local_ray, media, blip, tmp_path):
    first = described(media, tmp_path, blip)
    parts = {one.producer: one.num_parts for one in held(place(str(tmp_path)))}
    again = described(media, tmp_path, blip)
    assert again.tables["captions"].equals(first.tables["captions"])
    assert {one.producer: one.num_parts for one in held(place(str(tmp_path)))} == parts
    each = described(media, tmp_path, blip, every_segment=True).tables["captions"]
    assert len(each) == 1 + 1 + 2
    assert len(held(place(str(tmp_path)))) == len(parts) + 1


def test_a_file_that_went_away_is_a_failure(local_ray, media, blip, tmp_path):
    lost = media.set_column(1, "uri", [[uri + "x" for uri in media["uri"].to_pylist()]])
    found = described(lost, tmp_path, blip)
    assert len(found.tables["captions"]) == 0
    assert set(found.failures["kind"].to_pylist()) == {"fetch_failed"}


def test_without_models_or_files_nothing_is_found(media, tmp_path):
    assert described(media, tmp_path, "").tables == {}
    assert described(MEDIA.empty_table(), tmp_path, "m").tables == {}
