"""What every `UserState` must do; another implementation joins by a line in `STATES`."""

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
from avrec.serving.state import SQLiteState, StateError

START = datetime(2024, 1, 1, tzinfo=UTC)
STATES = {"sqlite": lambda folder: SQLiteState(folder / "state" / "live.sqlite", max_events=3)}


@pytest.fixture(params=STATES)
def state(request, tmp_path):
    return STATES[request.param](tmp_path)


def event(event_id, user_id="u", item_id="i", at=0, **others):
    moment = START + timedelta(seconds=at)
    row = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "kind": "play"}
    return row | {"at": moment} | others


def events(*rows):
    return pa.Table.from_pylist(list(rows), schema=EVENTS)


def test_what_is_appended_is_read_back(state):
    table = events(event("é '\"; --", position_seconds=1.5), event("b", user_id="🎧", value=-0.0))
    assert state.append(table) == [True, True]
    assert state.all_events().equals(table)
    assert state.events_of("🎧").equals(table.slice(1))
    assert state.events_of("nobody").equals(EVENTS.empty_table())


def test_an_event_id_counts_once(state):
    assert state.append(events(event("a"), event("a", at=9), event("b"))) == [True, False, True]
    assert state.append(events(event("b"), event("c"))) == [False, True]
    assert state.all_events()["event_id"].to_pylist() == ["a", "b", "c"]
    assert state.all_events()["at"][0].as_py() == START


def test_the_latest_events_of_a_user_come_in_time_order(state):
    state.append(events(*(event(str(n), at=at) for n, at in enumerate([5, 1, 4, 2, 3]))))
    assert state.events_of("u")["event_id"].to_pylist() == ["4", "2", "0"]
    assert len(state.all_events()) == 5


def test_a_deleted_user_is_forgotten(state):
    state.append(events(event("a"), event("b"), event("c", user_id="other")))
    state.log_served(shown("u"))
    assert state.delete("u") == 2
    assert state.delete("u") == 0
    assert len(state.events_of("u")) == len(state.all_served()) == 0
    assert len(state.events_of("other")) == 1


def test_served_lists_are_read_back(state):
    state.log_served(shown("u"))
    assert state.all_served().equals(shown("u"))


def test_threads_may_share_it(state):
    def send(number):
        return sum(state.append(events(event(str(number // 2)), event(f"own {number}"))))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(40))) == 60
    assert len(state.all_events()) == 60


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3))))
def test_chunking_changes_nothing(tmp_path_factory, pairs):
    rows = [event(str(n), item_id=str(i)) for n, i in pairs]
    folder = tmp_path_factory.mktemp("state")
    whole, single = (SQLiteState(folder / name) for name in ("whole", "single"))
    accepted = whole.append(events(*rows))
    assert accepted == [flag for row in rows for flag in single.append(events(row))]
    assert whole.all_events().equals(single.all_events())


def test_only_its_owner_reads_it(tmp_path):
    SQLiteState(tmp_path / "live.sqlite").append(events(event("a")))
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}


def shown(user_id):
    values = {"request_id": "r", "user_id": user_id, "item_id": "i", "rank": 1, "score": 0.5}
    values |= {"propensity": 1.0, "policy": "p", "model": "m", "at": START, "reason": "x"}
    return pa.Table.from_pylist([values], schema=RECOMMENDATIONS)


KILLED = """
import os, signal, sys
from pathlib import Path
import tests.serving.test_state as t
state = t.SQLiteState(Path(sys.argv[1]))
for n in range(20):
    state.append(t.events(t.event(f"{sys.argv[2]}-{n}")))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_that_it_accepted(tmp_path):
    path = tmp_path / "live.sqlite"
    for run in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, path, str(run)], check=False)
        assert done.returncode == -signal.SIGKILL
    accepted = [f"{run}-{n}" for run in range(2) for n in range(20)]
    assert SQLiteState(path).all_events()["event_id"].to_pylist() == accepted


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
    assert state.all_events()["event_id"].to_pylist() == ["kept"]
