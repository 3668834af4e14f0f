"""What a service was told of single items goes over the files and the table of a run."""

import pyarrow as pa
import pytest

from avrec.config import RunConfig
from avrec.drained import GONE, Told, write_items
from avrec.media.files import MediaConfig
from avrec.schema import ITEMS, MEDIA
from avrec.store import Workspace
from jobs import probe
from tests.media.clips import tone, write_sound


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("kept", "gone", "again"):
        write_sound(tmp_path / "clips" / f"{name}.wav", tone(0.2))
    write_sound(tmp_path / "put.wav", tone(0.3))
    return tmp_path / "clips"


def test_items_put_are_there_with_their_files_and_those_deleted_are_not(
    local_ray, folder, tmp_path
):
    workspace = Workspace(str(tmp_path / "workspace"))
    config = RunConfig(media=MediaConfig(inputs=(str(folder),), num_actors=1))
    probe.run(config, workspace)
    before = workspace.open("items").version
    probe.run(config, workspace)
    assert workspace.open("items").version == before
    put = [
        {"item_id": "new", "title": "New", "uri": str(tmp_path / "put.wav")},
        {"item_id": "again.wav", "title": "Another title"},
        {"item_id": "words", "title": "Words only"},
    ]
    gone = pa.table([["gone.wav"]], schema=GONE)
    write_items(workspace.root, Told(pa.Table.from_pylist(put, schema=ITEMS), gone))
    probe.run(config, workspace)
    items = workspace.read_table("items", ITEMS).to_pylist()
    titles = {row["item_id"]: (row["title"], row["uri"]) for row in items}
    assert titles == {
        "again.wav": ("Another title", str(folder / "again.wav")),
        "kept.wav": ("kept", str(folder / "kept.wav")),
        "new": ("New", str(tmp_path / "put.wav")),
        "words": ("Words only", None),
    }
    media = workspace.read_table("media", MEDIA)
    assert set(media["item_id"].to_pylist()) == {"again.wav", "kept.wav", "new"}
    assert not media["error"].drop_null().to_pylist()
