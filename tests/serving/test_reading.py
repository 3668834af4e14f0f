import threading
from datetime import UTC, datetime

import pytest

from avrec.schema import EVENTS
from avrec.serving.reading import HANGS_SECONDS, Reading
from avrec.serving.state import StateError
from avrec.stopwatch import Stopwatch
from tests.serving.states import sqlite_state
from tests.test_recommend import Clock

AT = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def state(tmp_path):
    return sqlite_state(tmp_path)


def read(reading, user_id="u"):
    watch = Stopwatch()
    return reading.live(user_id, watch), watch.degraded


def test_while_one_read_hangs_no_other_is_begun(state, monkeypatch):
    begun, let_go, calls = threading.Event(), threading.Event(), []
    really = state.live

    def slow(user_id):
        calls.append(user_id)
        begun.set()
        assert let_go.wait(20)
        return really(user_id)

    monkeypatch.setattr(state, "live", slow)
    clock = Clock()
    reading = Reading(state, clock)
    first = threading.Thread(target=read, args=(reading, "first"))
    first.start()
    assert begun.wait(20)
    clock.now += 2 * HANGS_SECONDS
    assert read(reading, "second") == ((EVENTS.empty_table(), None), ["state"])
    assert calls == ["first"]
    let_go.set()
    first.join()
    assert read(reading, "third")[1] == []


def test_who_was_forgotten_stays_so_when_the_state_is_away(state, monkeypatch, caplog):
    state.forget("before", AT)
    reading = Reading(state)
    state.forget("since", AT)
    assert read(reading, "since")[0].forgotten_at == AT

    def broken(_):
        raise StateError("gone")

    with monkeypatch.context() as away:
        away.setattr(state, "live", broken)
        for user, moment in (("before", AT), ("since", AT), ("other", None)):
            live, degraded = read(reading, user)
            assert (live.forgotten_at, degraded) == (moment, ["state"])
    assert caplog.messages == ["lists are made without live events: gone"]
    caplog.set_level("INFO")
    assert read(reading)[1] == []
    assert caplog.messages[-1] == "the state answers again"


def test_a_state_that_is_away_at_first_is_read_later(state, monkeypatch):
    def broken():
        raise StateError("not yet")

    with monkeypatch.context() as away:
        away.setattr(state, "forgotten", broken)
        reading = Reading(state)
    assert read(reading)[1] == []
