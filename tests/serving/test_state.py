"""What every `UserState` must do, on SQLite and on Redis."""

import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.schema import EVENTS, RECOMMENDATIONS
from avrec.serving.state import StateError, to_rows
from avrec.serving.state_redis import RedisState
from avrec.serving.state_sqlite import SQLiteState
from avrec.serving.states import open_state
from tests.serving.states import redis_server, redis_state, sqlite_state, take

START = datetime(2024, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)


@pytest.fixture(params=["sqlite", "redis"])
def state(request, tmp_path):
    if request.param == "sqlite":
        return sqlite_state(tmp_path, max_events=3)
    return redis_state(request.getfixturevalue("server"), max_events=3)


def event(event_id, user_id="u", item_id="i", at=0, **others):
    moment = START + timedelta(seconds=at)
    row = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "kind": "play"}
    return row | {"at": moment} | others


def events(*rows):
    return pa.Table.from_pylist(list(rows), schema=EVENTS)


def ids(table):
    return table["event_id"].to_pylist()


def test_what_is_appended_is_read_back(state):
    table = events(event("é '\"; --", position_seconds=1.5), event("b", user_id="🎧", value=-0.0))
    assert state.append(table) == [True, True]
    assert state.live("🎧").events.equals(table.slice(1))
    assert state.live("nobody") == (EVENTS.empty_table(), None)
    assert take(state).equals(table)


def test_an_event_id_counts_once(state):
    assert state.append(events(event("a"), event("a", at=9), event("b"))) == [True, False, True]
    assert state.append(events(event("b"), event("c"))) == [False, True]
    taken = take(state)
    assert ids(taken) == ["a", "b", "c"]
    assert taken["at"][0].as_py() == START
    assert state.append(events(event("a"))) == [False]


def test_the_latest_events_of_a_user_come_in_time_order(state):
    state.append(events(*(event(str(n), at=at) for n, at in enumerate([5, 1, 4, 2, 3, 3]))))
    assert ids(state.live("u").events) == ["4", "5", "2", "0"][1:]
    assert len(take(state)) == 6
    assert ids(state.live("u").events) == ["5", "2", "0"]


def test_a_forgotten_user_is_gone_and_noted(state):
    state.append(events(event("a"), event("b", at=99), event("c", user_id="other")))
    state.log_served(shown("u"))
    assert state.forget("u", START) == 2
    late = START + timedelta(seconds=99)
    assert state.live("u") == (EVENTS.empty_table(), late)
    assert state.forgotten().to_pylist() == [{"user_id": "u", "at": late}]
    sealed = state.seal(9)
    assert ids(sealed.events) == ["c"]
    assert not len(sealed.served)
    assert ids(state.live("other").events) == ["c"]


def test_a_user_who_comes_back_begins_anew(state):
    state.append(events(event("before")))
    assert state.forget("u", LATER) == 1
    assert state.forget("u", START) == 0
    assert state.live("u").forgotten_at == LATER
    state.append(events(event("late"), event("after", at=86_401)))
    assert ids(state.live("u").events) == ["after"]


def test_a_user_is_forgotten_when_all_is_drained_already(state):
    state.append(events(*(event(str(n), at=n) for n in range(3))))
    take(state)
    assert state.forget("u", START) == 3
    assert state.live("u") == (EVENTS.empty_table(), START + timedelta(seconds=2))


def test_served_lists_are_read_back(state):
    state.log_served(shown("u"))
    state.log_served(RECOMMENDATIONS.empty_table())
    state.log_served(shown("", request_id="s"))
    both = pa.concat_tables([shown("u"), shown("", request_id="s")])
    assert state.seal(9).served.equals(both.combine_chunks())


def test_lists_that_are_stored_together_are_each_their_person_s(state):
    mine = [shown("mine", request_id="1"), shown("mine", request_id="2")]
    state.log_served(pa.concat_tables([mine[0], shown("theirs", request_id="3"), mine[1]]))
    state.forget("mine", START)
    assert state.seal(99).served["request_id"].to_pylist() == ["3"]


def test_a_batch_stays_as_it_is_until_it_is_drained(state):
    assert state.seal(2) is None
    state.append(events(event("a"), event("b"), event("c")))
    state.log_served(shown("u"))
    first = state.seal(2)
    assert (first.number, ids(first.events), len(first.served)) == (1, ["a", "b"], 1)
    state.append(events(event("d")))
    assert state.seal(9) == first
    state.drained(1)
    second = state.seal(9)
    assert (second.number, ids(second.events), len(second.served)) == (2, ["c", "d"], 0)
    state.drained(1)
    assert state.seal(9) == second
    state.drained(2)
    assert state.seal(9) is None


def test_whoever_is_forgotten_leaves_an_open_batch(state):
    state.append(events(event("a"), event("b", user_id="other")))
    state.seal(9)
    state.forget("u", START)
    assert ids(state.seal(9).events) == ["b"]


def test_threads_may_share_it(state):
    def send(number):
        return sum(state.append(events(event(str(number // 2)), event(f"own {number}"))))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(40))) == 60
    assert len(take(state)) == 60


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3))))
def test_chunking_changes_nothing(tmp_path_factory, pairs):
    rows = [event(str(n), item_id=str(i)) for n, i in pairs]
    whole, single = (sqlite_state(tmp_path_factory.mktemp(name)) for name in ("whole", "single"))
    accepted = whole.append(events(*rows))
    assert accepted == [flag for row in rows for flag in single.append(events(row))]
    assert take(whole).equals(take(single))


def test_only_its_owner_reads_it(tmp_path):
    SQLiteState(tmp_path / "live.sqlite").append(events(event("a")))
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}


def shown(user_id, request_id="r", length=1):
    values = {"request_id": request_id, "user_id": user_id, "item_id": "i", "score": 0.1}
    values |= {"propensity": 1.0, "policy": "p", "model": "m", "at": START, "reason": "x"}
    rows = [values | {"rank": rank} for rank in range(1, length + 1)]
    return pa.Table.from_pylist(rows, schema=RECOMMENDATIONS)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from avrec.schema import EVENTS
where, run = sys.argv[1:]
if where.startswith("redis:"):
    from avrec.serving.state_redis import RedisState
    state = RedisState(where, prefix="{killed}")
else:
    from avrec.serving.state_sqlite import SQLiteState
    state = SQLiteState(Path(where))
row = {"user_id": "u", "item_id": "i", "kind": "play", "at": datetime.now(UTC)}
for n in range(20):
    state.append(pa.Table.from_pylist([row | {"event_id": f"{run}-{n}"}], schema=EVENTS))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_killed_process_loses_nothing_that_it_accepted(kind, tmp_path, request):
    path = tmp_path / "live.sqlite"
    where = path if kind == "sqlite" else request.getfixturevalue("server").url
    for run in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, where, str(run)], check=False)
        assert done.returncode == -signal.SIGKILL
    accepted = [f"{run}-{n}" for run in range(2) for n in range(20)]
    state = SQLiteState(path) if kind == "sqlite" else RedisState(where, prefix="{killed}")
    assert ids(take(state)) == accepted


def test_a_killed_redis_loses_nothing_that_was_accepted(tmp_path):
    with redis_server(tmp_path) as server:
        state = RedisState(server.url)
        state.append(events(event("a")))
        state.forget("other", START)
        state.seal(9)
        server.kill()
        with pytest.raises(StateError, match="Redis cannot be used"):
            state.append(events(event("b")))
        server.start()
        assert state.append(events(event("a"), event("b"))) == [False, True]
        assert state.forgotten()["user_id"].to_pylist() == ["other"]
        assert ids(state.seal(9).events) == ["a"]


def test_a_redis_that_could_lose_events_is_refused(tmp_path):
    with redis_server(tmp_path) as server:
        server.kill()
        server.start("--appendonly", "yes")
        with pytest.raises(StateError, match=r"lose accepted events; set appendfsync always$"):
            RedisState(server.url)


def test_what_goes_wrong_is_told_without_the_password(tmp_path):
    with redis_server(tmp_path) as server:
        server.kill()
        with pytest.raises(StateError) as told:
            RedisState(server.url.replace("//", "//:secret@"), timeout_seconds=0.1)
        assert "secret" not in str(told.value)


SERVED = """
DROP TABLE lists;
CREATE TABLE served (seq INTEGER PRIMARY KEY, request_id TEXT, user_id TEXT, item_id TEXT,
    rank INTEGER, score REAL, propensity REAL, policy TEXT, model TEXT, at INTEGER, reason TEXT,
    batch INTEGER);
"""
FIRST = """
ALTER TABLE served DROP COLUMN batch; DROP TABLE batches; DROP TABLE forgotten;
DROP INDEX events_of_batch; ALTER TABLE events DROP COLUMN batch;
"""


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_is_taken_over(tmp_path, version):
    path = tmp_path / "live.sqlite"
    SQLiteState(path).append(events(event("a")))
    lists = [shown("u", "é '\"", 2), shown("", "s", 1), shown("u", "r", 3)]
    old = sqlite3.connect(path)
    old.executescript(f"{SERVED} {FIRST if version == 1 else ''} PRAGMA user_version = {version}")
    names = ", ".join(RECOMMENDATIONS.names)
    for row in to_rows(pa.concat_tables(lists), RECOMMENDATIONS):
        old.execute(f"INSERT INTO served ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
    old.commit()
    old.close()
    sealed = SQLiteState(path).seal(9)
    assert ids(sealed.events) == ["a"]
    assert sealed.served.equals(pa.concat_tables(lists).combine_chunks())


def test_what_was_drained_long_ago_goes(tmp_path):
    state = sqlite_state(tmp_path, keep_days=0)
    for number, name in enumerate("abc", start=1):
        state.append(events(event(name)))
        assert state.seal(9).number == number
        state.drained(number)
    assert ids(state.live("u").events) == ["c"]
    assert state.append(events(event("a"), event("c"))) == [True, False]


def test_a_foreign_or_newer_file_is_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("not a database " * 100)
    with pytest.raises(StateError, match="not a database"):
        SQLiteState(text)
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StateError, match="version 99"):
        SQLiteState(tmp_path / "newer")


def test_a_full_disk_is_said_and_keeps_what_was_accepted(tmp_path):
    state = SQLiteState(tmp_path / "live.sqlite")
    state.append(events(event("kept")))
    with state._connection() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    many = events(*(event(str(n), item_id="x" * 500) for n in range(500)))
    with pytest.raises(StateError, match="full"):
        state.append(many)
    assert ids(take(state)) == ["kept"]


def test_the_place_says_which_state_it_is(tmp_path, server):
    assert isinstance(open_state(str(tmp_path / "live.sqlite")), SQLiteState)
    assert isinstance(open_state(server.url), RedisState)
