from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from avrec import drained
from avrec.clean import CleanConfig
from avrec.config import RunConfig
from avrec.errors import ArtifactError, InputError
from avrec.events import EventsConfig
from avrec.feedback import FeedbackConfig
from avrec.sample.listeners import ListenersConfig
from avrec.sample.write import SampleConfig
from avrec.schema import (
    DROPPED,
    EVENTS,
    FORGOTTEN,
    INTERACTIONS,
    ITEMS,
    MEDIA,
    RECOMMENDATIONS,
    conform,
)
from avrec.store import Workspace, join, place
from jobs import interactions, sample

SMALL = SampleConfig(num_clips=2, listeners=ListenersConfig(num_listeners=20, sessions=3))


@pytest.fixture
def run(root_uri):
    """A workspace with the sample, and the `items` and `media` that a probe would make of it."""
    workspace = Workspace(root_uri)
    config = RunConfig(
        workspace=root_uri,
        sample=SMALL,
        events=EventsConfig(uri=join(root_uri, "sample/events.parquet")),
    )
    sample.run(config, workspace)
    items = pq.read_table(pa.BufferReader((workspace.root / "sample/items.parquet").read()))
    media = items.select(["item_id", "uri"])
    media = media.append_column("duration_seconds", pa.array(np.full(len(items), 5.0)))
    recipe = workspace.recipe({})
    workspace.write_table("items", items, ITEMS, recipe)
    workspace.write_table("media", conform(media, MEDIA), MEDIA, recipe)
    return config, workspace


def versions(workspace: Workspace) -> dict[str, str]:
    names = ("sample", "events", "events_dropped", "interactions")
    return {name: workspace.open(name).version for name in names}


def test_writes_once_and_again_only_what_changed(run):
    config, workspace = run
    interactions.run(config, workspace)
    first = versions(workspace)
    table = workspace.read_table("interactions", INTERACTIONS)
    assert 0 < len(table) <= len(workspace.read_table("events", EVENTS))
    assert len(workspace.read_table("events_dropped", DROPPED)) == 0

    sample.run(config, workspace)
    interactions.run(config, workspace)
    assert versions(workspace) == first

    interactions.run(replace(config, feedback=FeedbackConfig(like=0.0)), workspace)
    second = versions(workspace)
    assert {name for name in first if first[name] != second[name]} == {"interactions"}

    strict = CleanConfig(iqr_factor=0.0, outlier_min_events=0)
    interactions.run(replace(config, clean=strict), workspace)
    dropped = workspace.read_table("events_dropped", DROPPED).to_pylist()
    assert [row["reason"] for row in dropped] == ["outlier"]


def test_live_events_are_learned_from_and_forgotten_users_are_not(run):
    config, workspace = run
    interactions.run(config, workspace)
    known = workspace.read_table("events", EVENTS)
    gone, item = known["user_id"][0].as_py(), known["item_id"][0].as_py()
    live = {"event_id": "live", "user_id": "newcomer", "item_id": item, "kind": "like"}
    table = pa.Table.from_pylist([live | {"at": known["at"][0].as_py()}], schema=EVENTS)
    drained.write_batch(workspace.root, 1, table, RECOMMENDATIONS.empty_table())
    note = {"user_id": gone, "at": pc.max(known["at"]).as_py()}
    drained.write_forgotten(workspace.root, pa.Table.from_pylist([note], schema=FORGOTTEN))
    interactions.run(config, workspace)
    for name, schema in (("events", EVENTS), ("interactions", INTERACTIONS)):
        users = set(workspace.read_table(name, schema)["user_id"].to_pylist())
        assert "newcomer" in users
        assert gone not in users


LOCAL = pytest.mark.parametrize("root_uri", ["local"], indirect=True)


@LOCAL
def test_sample_is_made_again_when_a_clip_is_gone(run):
    config, workspace = run
    before = workspace.open("sample").version
    clip = workspace.root / "sample/clips/clip-000.mp4"
    content = clip.read()
    clip.filesystem.delete_file(clip.path)
    sample.run(config, workspace)
    assert workspace.open("sample").version != before
    assert clip.read() == content


@LOCAL
def test_events_of_another_catalogue_leave_everything_as_it_was(run, tmp_path):
    config, workspace = run
    interactions.run(config, workspace)
    before = versions(workspace)
    place(str(tmp_path)).write_part("other.csv", b"user_id,item_id,kind,at\nu,nowhere,play,1\n")
    other = replace(config, events=EventsConfig(uri=str(tmp_path / "other.csv")))
    with pytest.raises(InputError, match=r"unknown_item 1\): they name items such as 'nowhere'"):
        interactions.run(other, workspace)
    assert versions(workspace) == before


def test_without_a_catalogue_says_so(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,kind,at\nu,i,like,1\n")
    config = RunConfig(events=EventsConfig(uri=str(tmp_path / "events.csv")))
    with pytest.raises(ArtifactError, match=r"no finished 'media' in .*; run the job"):
        interactions.run(config, Workspace(str(tmp_path / "workspace")))
