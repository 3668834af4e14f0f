import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from avrec.errors import ConfigError
from avrec.serving.auth import EVENTS, READ, Keys, create_key, write_private


def test_a_key_opens_its_scopes_and_a_wrong_one_none(tmp_path):
    path = tmp_path / "deep" / "keys.json"
    both, reader = create_key(path), create_key(path, [READ])
    keys = Keys(path)
    assert keys.scopes(both) == {READ, EVENTS}
    assert keys.scopes(reader) == {READ}
    assert not keys.scopes(both[:-1])
    assert not keys.scopes("")
    assert not keys.scopes("\ud800 é")


def test_the_file_holds_no_key_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "keys.json"
    before = os.umask(0)
    try:
        key = create_key(path)
    finally:
        os.umask(before)
    assert key not in path.read_text()
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}


def test_keys_made_at_once_all_count(tmp_path):
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_key(path), range(8)))
    keys = Keys(path)
    assert len(set(made)) == 8
    assert all(keys.scopes(key) for key in made)


def test_a_key_struck_out_stops_counting_at_once(tmp_path):
    path = tmp_path / "keys.json"
    first, second = create_key(path), create_key(path)
    keys = Keys(path)
    content = json.loads(path.read_text())
    write_private(path, json.dumps(content | {"keys": content["keys"][1:]}).encode())
    assert not keys.scopes(first)
    assert keys.scopes(second)
    path.unlink()
    assert not keys.scopes(second)


def test_no_key_file_or_another_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no keys"):
        Keys(tmp_path / "absent.json")
    other = tmp_path / "other.json"
    for content in ("{", "[]", '{"format": 99}'):
        other.write_text(content)
        with pytest.raises(ConfigError, match="not a key file"):
            create_key(other)
    with pytest.raises(ValueError, match="scopes"):
        create_key(tmp_path / "keys.json", ["write"])
