import json
import re
import sys

import pytest

from avrec.serving.auth import Keys
from jobs import keys


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    def call(*arguments):
        where = ["--keys", str(tmp_path / "keys.json")]
        monkeypatch.setattr(sys, "argv", ["keys", *where, *arguments])
        keys.main()
        return capsys.readouterr().out.strip()

    return call


def test_a_key_is_added_listed_and_struck_out(run, tmp_path):
    assert run("list") == ""
    run("add")
    key = run("add", "--scopes", "admin", "--tenant", "acme", "--per-second", "5")
    found = Keys(tmp_path / "keys.json")
    listed = run("list").splitlines()
    assert listed[1] == f"{found.grant(key).key_id}  admin  of acme  5 a second"
    assert re.fullmatch("[0-9a-f]{12}  events,read", listed[0])
    run("revoke", found.grant(key).key_id)
    assert found.grant(key) is None
    assert len(json.loads((tmp_path / "keys.json").read_text())["keys"]) == 1


def test_what_is_wrong_is_said_in_one_line(run):
    for wrong, said in ((["revoke", "x"], "no key 'x'"), (["add", "--scopes", "all"], "scopes")):
        with pytest.raises(SystemExit, match=f"error: .*{said}"):
            run(*wrong)
