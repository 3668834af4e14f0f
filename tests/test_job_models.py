import sys

import pytest

from avrec.serving.deploy import activate
from avrec.serving.routing import current
from avrec.serving.shelf import WorkspaceShelf
from avrec.serving.states import open_board
from avrec.store import Workspace
from jobs import models
from tests.bundles import write_bundle

ITEMS = [{"item_id": f"i{n}", "title": f"t{n}"} for n in range(3)]


@pytest.fixture
def workspace(tmp_path):
    return Workspace(str(tmp_path / "workspace"))


@pytest.fixture
def run(tmp_path, workspace, monkeypatch, capsys):
    def call(*arguments):
        where = ["--workspace", workspace.uri, "--state", str(tmp_path / "live.sqlite")]
        monkeypatch.setattr(sys, "argv", ["models", *where, *arguments])
        models.main()
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        return {version: role for version, _, *role in lines}

    return call


def test_versions_are_listed_activated_and_gone_back_from(run, workspace, tmp_path):
    one = write_bundle(workspace, ITEMS, [("u", "i0")])
    board = open_board(str(tmp_path / "live.sqlite"))
    activate(WorkspaceShelf(workspace), board, one)
    two = write_bundle(workspace, ITEMS, [("u", "i1")])
    assert run("list") == {one: ["active"], two: []}
    assert run("activate", two) == {one: ["previous"], two: ["active"]}
    assert current(board)[0].active == two
    assert run("rollback") == {one: ["active"], two: []}


def test_what_cannot_be_is_said_in_one_line(run, workspace, tmp_path):
    with pytest.raises(SystemExit, match="error: no model is active yet"):
        run("list")
    one = write_bundle(workspace, ITEMS, [("u", "i0")])
    activate(WorkspaceShelf(workspace), open_board(str(tmp_path / "live.sqlite")), one)
    two = write_bundle(workspace, ITEMS, [("u", "i1")])
    altered = workspace.open("bundle", two).place / "items.parquet"
    altered.write(bytes(altered.size_bytes()))
    with pytest.raises(SystemExit, match=r"error: .*altered"):
        run("activate", two)
    with pytest.raises(SystemExit, match=r"error: .\.\./x. is no version"):
        run("activate", "../x")
    with pytest.raises(SystemExit, match="error: there is no version to go back to"):
        run("rollback")
    assert run("list")[one] == ["active"]
