"""Captions by a model with random weights: what counts is who is asked, how often, and of what."""

import shutil

import pytest

from avrec.config import RunConfig
from avrec.embed.describe.config import DescribeConfig
from avrec.embed.describe.language_config import CaptionsConfig
from avrec.embed.encoder import EmbedConfig
from avrec.ledger import held
from avrec.media.files import MediaConfig
from avrec.schema import CAPTIONS, DESCRIPTIONS, QUARANTINE
from avrec.store import Workspace
from jobs import describe, probe
from tests.embed.describe.test_captions import save_blip
from tests.media.clips import tone, write_clip, write_sound


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return save_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "clips"
    made.mkdir()
    write_clip(made / "one.mp4", seconds=1)
    shutil.copy(made / "one.mp4", made / "same.mp4")
    write_clip(made / "two.mp4", seconds=2)
    write_sound(made / "tone.wav", tone(1))
    return made


def described(folder, model, **settings) -> Workspace:
    config = RunConfig(
        media=MediaConfig(inputs=(str(folder),), num_actors=1),
        embed=EmbedConfig(segment_seconds=1, frames_per_segment=2, frame_side=48, num_actors=1),
        describe=DescribeConfig(
            captions=CaptionsConfig(model=model, max_new_tokens=4, **settings),
        ),
    )
    workspace = Workspace(str(folder.parent / "ws"))
    probe.run(config, workspace)
    describe.run(config, workspace)
    return workspace


def parts_of_captions(workspace) -> dict[str, int]:
    found = held(workspace.root)
    return {one.producer: one.num_parts for one in found if one.producer.startswith("captions")}


def test_every_item_with_a_picture_has_a_caption(local_ray, folder, blip):
    workspace = described(folder, blip)
    rows = workspace.read_table("captions", CAPTIONS).to_pylist()
    assert [row["item_id"] for row in rows] == ["one.mp4", "same.mp4", "two.mp4"]
    assert rows[0]["text"] == rows[1]["text"]
    assert rows[2]["stop_seconds"] == pytest.approx(2, abs=0.2)
    told = workspace.read_table("descriptions", DESCRIPTIONS).to_pylist()
    captions = {row["item_id"]: row["text"] for row in rows} | {"tone.wav": None}
    assert {row["item_id"]: row["caption"] for row in told} == captions


def test_a_rerun_decodes_nothing_and_a_new_describer_has_its_own_part(local_ray, folder, blip):
    workspace = described(folder, blip)
    first = workspace.read_table("captions", CAPTIONS)
    before = parts_of_captions(workspace)
    write_sound(folder / "zz.wav", tone(1, 300))
    workspace = described(folder, blip)
    assert workspace.read_table("captions", CAPTIONS).equals(first)
    workspace = described(folder, blip, every_segment=True)
    assert len(workspace.read_table("captions", CAPTIONS)) == 1 + 1 + 2
    assert set(before) < set(parts_of_captions(workspace))


def test_a_broken_file_is_quarantined_and_the_others_are_described(local_ray, folder, blip):
    (folder / "page.mp4").write_bytes(b"<html>")
    workspace = described(folder, blip)
    refused = workspace.read_table("describe_quarantine", QUARANTINE).to_pylist()
    assert {(row["item_id"], row["kind"]) for row in refused} == {("page.mp4", "not_media")}
    assert len(workspace.read_table("captions", CAPTIONS)) == 3
