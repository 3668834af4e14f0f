import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from avrec.errors import ConfigError
from avrec.serving.auth import (
    ADMIN,
    EVENTS,
    READ,
    Keys,
    create_key,
    grants,
    revoke_key,
    write_private,
)


def test_a_key_opens_its_scopes_and_a_wrong_one_none(tmp_path):
    path = tmp_path / "deep" / "keys.json"
    both, reader = create_key(path), create_key(path, [READ])
    keys = Keys(path)
    assert keys.grant(both).scopes == {READ, EVENTS}
    assert keys.grant(reader).scopes == {READ}
    assert not keys.grant(both[:-1])
    assert not keys.grant("")
    assert not keys.grant("\ud800 é")


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
    assert all(keys.grant(key) for key in made)


def test_a_key_struck_out_stops_counting_at_once(tmp_path):
    path = tmp_path / "keys.json"
    first, second = create_key(path), create_key(path)
    keys = Keys(path)
    content = json.loads(path.read_text())
    write_private(path, json.dumps(content | {"keys": content["keys"][1:]}).encode())
    assert not keys.grant(first)
    assert keys.grant(second)
    path.unlink()
    assert not keys.grant(second)


def test_a_key_says_whose_it_is_and_how_often_it_may_come(tmp_path):
    path = tmp_path / "keys.json"
    key = create_key(path, [ADMIN], tenant="acme", per_second=2.5)
    grant = Keys(path).grant(key)
    assert (grant.scopes, grant.tenant, grant.per_second) == ({ADMIN}, "acme", 2.5)
    assert grants(path) == [grant]
    assert len({grant.own("u"), "acmeu", "u", "acme/u"}) == 4
    for wrong in ({"tenant": "a\x1fb"}, {"tenant": "x" * 65}, {"per_second": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            create_key(path, **wrong)


def test_a_key_is_replaced_without_a_restart(tmp_path):
    path = tmp_path / "keys.json"
    first = create_key(path)
    keys = Keys(path)
    second = create_key(path)
    assert keys.grant(first)
    assert keys.grant(second)
    revoke_key(path, keys.grant(first).key_id)
    assert not keys.grant(first)
    assert keys.grant(second)
    with pytest.raises(ConfigError, match="no key"):
        revoke_key(path, "absent")


def test_a_pseudonym_stays_for_a_key_file_and_says_nothing_without_it(tmp_path):
    for name in ("one", "other"):
        create_key(tmp_path / name)
    one, again, other = (Keys(tmp_path / name) for name in ("one", "one", "other"))
    create_key(tmp_path / "one")
    assert one.pseudonym("u") == again.pseudonym("u") == Keys(tmp_path / "one").pseudonym("u")
    assert len({one.pseudonym("u"), other.pseudonym("u"), one.pseudonym("v")}) == 3
    assert "ann" not in one.pseudonym("ann")


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
