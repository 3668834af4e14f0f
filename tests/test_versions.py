from datetime import UTC, datetime, timedelta

import pytest

from avrec.store import Workspace
from avrec.versions import prune

LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def workspace(root_uri) -> Workspace:
    return Workspace(root_uri)


def make(workspace, name, *inputs, at="20250101T000000"):
    """Write a version as of a moment, and return its name."""
    draft = workspace.create(name, workspace.recipe({}, *inputs))
    empty = draft.place
    draft.version = f"{at}-{draft.version.split('-')[1]}"
    draft.place = draft.home / draft.version
    draft.place.filesystem.create_dir(draft.place.path)
    empty.filesystem.delete_dir(empty.path)
    with draft:
        draft.add_json("number.json", at)
    return draft.version


def versions(workspace, name, made):
    return [one for one in made if (workspace.root / name / one / "manifest.json").exists()]


def test_the_newest_and_the_current_stay(workspace):
    made = [make(workspace, "als", at=f"2025010{day}T000000") for day in range(1, 6)]
    (workspace.root / "als" / "current.json").write(b'{"version": "%s"}' % made[1].encode())
    gone = prune(workspace, 2, LATER)
    assert gone == [f"als/{made[0]}", f"als/{made[2]}"]
    assert versions(workspace, "als", made) == [made[1], made[3], made[4]]
    assert workspace.open("als").version == made[1]
    assert prune(workspace, 2, LATER) == []


def test_what_a_kept_manifest_names_stays_and_what_that_names(workspace):
    old = [
        make(workspace, "items"),
        make(workspace, "als", "items"),
        make(workspace, "bundle", "als"),
    ]
    for name in ("items", "als"):
        make(workspace, name, at="20250102T000000")
    assert prune(workspace, 1, LATER) == []
    make(workspace, "bundle", at="20250103T000000")
    assert prune(workspace, 1, LATER) == [
        f"{name}/{one}"
        for name, one in zip(("als", "bundle", "items"), (old[1], old[2], old[0]), strict=True)
    ]


def test_what_is_served_stays_and_what_it_was_made_from(workspace):
    old = [make(workspace, "als"), make(workspace, "bundle", "als")]
    for name in ("als", "bundle"):
        make(workspace, name, at="20250102T000000")
    assert prune(workspace, 1, LATER, [old[1], "20200101T000000-00000000"]) == []
    assert prune(workspace, 1, LATER) == [f"als/{old[0]}", f"bundle/{old[1]}"]


def test_one_that_was_replaced_within_a_day_may_be_read_still(workspace):
    old, _ = make(workspace, "als"), make(workspace, "als", at="20250301T120000")
    replaced = datetime(2025, 3, 1, 12, tzinfo=UTC)
    assert prune(workspace, 1, replaced + timedelta(hours=23)) == []
    assert prune(workspace, 1, replaced + timedelta(hours=24)) == [f"als/{old}"]


def test_half_written_ones_go_after_a_day(workspace):
    make(workspace, "als", at="20240101T000000")
    begun = workspace.create("als", workspace.recipe({}))
    begun.add_json("number.json", 1)
    assert prune(workspace, 1, datetime.now(UTC)) == []
    assert prune(workspace, 1, LATER) == [f"als/{begun.version}"]


def test_what_is_no_version_is_not_touched(workspace):
    make(workspace, "sample")
    for name in ("sample/clips/a.mp4", "ledger/20200101T000000-00000000/part.parquet", "notes.txt"):
        folder = (workspace.root / name).path.rsplit("/", 1)[0]
        workspace.root.filesystem.create_dir(folder)
        (workspace.root / name).write(b"mine")
    assert prune(workspace, 1, LATER) == []
    assert (workspace.root / "sample/clips/a.mp4").read() == b"mine"


def test_all_stay_where_the_current_one_is_damaged(workspace):
    make(workspace, "als")
    (workspace.root / "als" / make(workspace, "als", at="20250102T000000") / "number.json").write(
        b""
    )
    assert prune(workspace, 1, LATER) == []


def test_an_empty_workspace_has_nothing_to_lose(workspace):
    assert prune(workspace, 1, LATER) == []


def test_at_least_one_is_kept(workspace):
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        prune(workspace, 0, LATER)
