import errno
import json
import os

import numpy as np
import pyarrow as pa
import pytest

from avrec.errors import ArtifactError, SchemaError
from avrec.schema import METRICS
from avrec.store import Draft, Part, Workspace, join, place

ROWS = pa.table({"model": ["als"], "split": ["test"], "metric": ["recall"], "k": [20]})
ROWS = ROWS.append_column("value", pa.array([0.5])).append_column("num_users", pa.array([9]))


@pytest.fixture
def workspace(root_uri) -> Workspace:
    return Workspace(root_uri)


@pytest.fixture
def written(tmp_path):
    """A workspace with one table, and the folder of its version."""
    workspace = Workspace(str(tmp_path))
    workspace.write_table("metrics", ROWS, METRICS, workspace.recipe({}))
    return workspace, tmp_path / "metrics" / workspace.open("metrics").version


def test_reads_what_was_written(workspace):
    with workspace.create("als", workspace.recipe({"dim": 2})) as draft:
        draft.add_tensors("als.safetensors", {"items": np.eye(2, dtype=np.float32)})
        draft.add_json("als.json", {"dim": 2})
        draft.add_table("part-00000.parquet", ROWS, METRICS)
        draft.metrics["loss"] = 0.5
    found = workspace.open("als")
    np.testing.assert_array_equal(found.tensors("als.safetensors")["items"], np.eye(2))
    assert found.json("als.json") == {"dim": 2}
    assert found.table("part-00000.parquet").schema == METRICS
    assert found.names("als.") == ["als.json", "als.safetensors"]
    assert found.num_rows() == 1
    assert found.manifest["metrics"] == {"loss": 0.5}
    found.check()


def test_tensors_of_any_layout(written):
    workspace, _ = written
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    with workspace.create("als", workspace.recipe({})) as draft:
        draft.add_tensors("als.safetensors", {"cut": values[:, :2], "turned": values.T})
    found = workspace.open("als").tensors("als.safetensors")
    np.testing.assert_array_equal(found["cut"], values[:, :2])
    np.testing.assert_array_equal(found["turned"], values.T)


def test_table_of_several_parts(workspace):
    with workspace.create("metrics", workspace.recipe({})) as draft:
        for number in range(3):
            draft.add_table(f"part-{number:05d}.parquet", ROWS, METRICS)
    assert workspace.read_table("metrics", METRICS).num_rows == 3
    paths, filesystem = workspace.part_paths("metrics")
    assert [filesystem.get_file_info(path).is_file for path in paths] == [True] * 3


def test_table_of_no_parts_is_empty(workspace):
    with workspace.create("metrics", workspace.recipe({})):
        pass
    assert workspace.read_table("metrics", METRICS).equals(METRICS.empty_table())


def test_a_worker_may_write_a_part(workspace):
    with workspace.create("metrics", workspace.recipe({})) as draft:
        part = draft.place.write_table("part-00000.parquet", ROWS)
        draft.add(Part(*part))
    assert workspace.read_table("metrics", METRICS).num_rows == 1


def test_the_last_commit_is_current_and_the_first_is_still_there(workspace):
    versions = []
    for number in range(2):
        with workspace.create("metrics", workspace.recipe({"n": number})) as draft:
            draft.add_json("n.json", number)
        versions.append(draft.version)
    assert workspace.open("metrics").json("n.json") == 1
    assert workspace.open("metrics", versions[0]).json("n.json") == 0


def test_draft_that_failed_is_never_current(workspace):
    workspace.write_table("metrics", ROWS, METRICS, workspace.recipe({}))
    before = workspace.open("metrics").version

    def fail() -> None:
        with workspace.create("metrics", workspace.recipe({})) as draft:
            draft.add_table("part-00000.parquet", ROWS, METRICS)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert workspace.open("metrics").version == before


def test_nothing_is_current_before_the_end(workspace):
    with workspace.create("metrics", workspace.recipe({})) as draft:
        draft.add_table("part-00000.parquet", ROWS, METRICS)
        assert not workspace.has("metrics")
    assert workspace.has("metrics")


def test_recipe_tells_config_inputs_and_outside(workspace):
    workspace.write_table("metrics", ROWS, METRICS, workspace.recipe({}))
    plain = workspace.recipe({"dim": 8, "reg": 0.1}, "metrics", outside={"file": "1"})
    assert (
        plain.key == workspace.recipe({"reg": 0.1, "dim": 8}, "metrics", outside={"file": "1"}).key
    )
    others = [
        workspace.recipe({"dim": 9, "reg": 0.1}, "metrics", outside={"file": "1"}),
        workspace.recipe({"dim": 8, "reg": 0.1}, outside={"file": "1"}),
        workspace.recipe({"dim": 8, "reg": 0.1}, "metrics", outside={"file": "2"}),
    ]
    assert plain.key not in {other.key for other in others}
    workspace.write_table("metrics", ROWS, METRICS, plain)
    assert workspace.has("metrics", plain)
    assert not any(workspace.has("metrics", other) for other in others)


def test_recipe_changes_with_the_version_of_an_input(workspace):
    keys = set()
    for _ in range(2):
        workspace.write_table("metrics", ROWS, METRICS, workspace.recipe({}))
        keys.add(workspace.recipe({}, "metrics").key)
    assert len(keys) == 2


def test_manifest_holds_no_credentials(workspace):
    recipe = workspace.recipe({"uri": "s3://key:s%2Fcret@bucket/x", "mail": "a@b"})
    workspace.write_table("metrics", ROWS, METRICS, recipe)
    written = workspace.open("metrics").manifest["config"]["value"]
    assert written == {"uri": "s3://bucket/x", "mail": "a@b"}
    assert workspace.has("metrics", recipe)


def test_absent(workspace):
    with pytest.raises(ArtifactError, match=r"no finished 'als' in .*; run the job"):
        workspace.open("als")
    assert not workspace.has("als")


def test_wrong_schema_is_not_written(workspace):
    with pytest.raises(SchemaError, match="no column 'value'"):
        workspace.write_table("metrics", ROWS.drop_columns("value"), METRICS, workspace.recipe({}))
    assert not workspace.has("metrics")


def test_unknown_file_of_an_artifact(written):
    workspace, _ = written
    with pytest.raises(ArtifactError, match=r"holds no 'x\.json', only \['part-00000"):
        workspace.open("metrics").json("x.json")


@pytest.mark.parametrize("damage", ["truncate", "unlink"])
def test_part_cut_short_or_gone_is_refused_on_opening(written, damage):
    workspace, folder = written
    part = folder / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1]) if damage == "truncate" else part.unlink()
    with pytest.raises(ArtifactError, match="absent or cut short"):
        workspace.open("metrics")
    assert not workspace.has("metrics")


def test_altered_part_of_the_same_length_is_refused_on_reading(written):
    workspace, folder = written
    part = folder / "part-00000.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.raises(ArtifactError, match="was altered"):
        workspace.read_table("metrics", METRICS)
    with pytest.raises(ArtifactError, match="was altered"):
        workspace.open("metrics").check()


def test_part_that_goes_after_opening_is_refused(written):
    workspace, folder = written
    found = workspace.open("metrics")
    (folder / "part-00000.parquet").unlink()
    with pytest.raises(ArtifactError, match="is gone"):
        found.check()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("../current.json", "{", "is not JSON"),
        ("../current.json", "[]", "lacks one of"),
        ("../current.json", "{}", "lacks one of"),
        ("../current.json", '{"version": "20000101"}', "no finished 'metrics'"),
        ("manifest.json", "", "is not JSON"),
        ("manifest.json", '{"format": 1}', "lacks one of"),
        ("manifest.json", "\udcff", "is not JSON"),
    ],
)
def test_broken_description_is_refused(written, file, content, message):
    workspace, folder = written
    (folder / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ArtifactError, match=message):
        workspace.open("metrics")


def test_manifest_of_another_format_is_refused(written):
    workspace, folder = written
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(ArtifactError, match="has format 2, expected 1"):
        workspace.open("metrics")


def test_half_written_version_is_refused(written):
    workspace, folder = written
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="no finished 'metrics'"):
        workspace.open("metrics")


def test_unknown_kind_of_uri():
    with pytest.raises(ArtifactError, match="cannot use 'ftpx://host/x'"):
        place("ftpx://host/x")


def test_join_keeps_the_query_of_a_uri(tmp_path):
    assert join("s3://b/run/?region=x", "a/b") == "s3://b/run/a/b?region=x"
    assert join(str(tmp_path), "a/b") == str(tmp_path / "a/b")


class FullDisk:
    """Takes so many files, each flushed by `os.fsync`, and then has no space left."""

    def __init__(self, num_files: int) -> None:
        self.num_files = num_files

    def fsync(self, _: int) -> None:
        self.num_files -= 1
        if self.num_files < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("num_files", [0, 1, 2])
def test_full_disk_leaves_the_old_version_and_names_the_file(written, monkeypatch, num_files):
    workspace, _ = written
    before = workspace.open("metrics").version
    monkeypatch.setattr("avrec.store.os.fsync", FullDisk(num_files).fsync)
    with pytest.raises(OSError, match=r"No space left on device: '.*(parquet|json)'"):
        workspace.write_table("metrics", ROWS, METRICS, workspace.recipe({"again": True}))
    assert workspace.open("metrics").version == before
    workspace.open("metrics").check()


def test_full_disk_at_the_first_version_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr("avrec.store.os.fsync", FullDisk(0).fsync)
    workspace = Workspace(str(tmp_path))
    draft = Draft(workspace.root / "metrics", workspace.recipe({}))
    with pytest.raises(OSError, match="No space left"), draft:
        draft.add_table("part-00000.parquet", ROWS, METRICS)
    assert not workspace.has("metrics")
    assert not draft.place.exists()


def test_removed_is_gone_and_removing_nothing_is_fine(root_uri):
    workspace = Workspace(root_uri)
    workspace.remove("table")
    with workspace.create("table", workspace.recipe({})) as draft:
        draft.add_json("a.json", 1)
    workspace.remove("table")
    assert not workspace.has("table")
