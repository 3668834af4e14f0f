"""Each accepted event is in Parquet once, whoever is killed in between."""

from datetime import timedelta

import pyarrow as pa
import pytest

from avrec.drained import read_events, read_forgotten, read_items
from avrec.serving.catalogue import Catalogue
from avrec.serving.drain import drain, drain_items
from avrec.store import place
from tests.serving.states import redis_state, sqlite_state
from tests.serving.test_state import START, event, events, ids, shown


class Killed(BaseException):
    """Ends a drain as a kill would: nothing after it runs."""


@pytest.fixture(params=["sqlite", "redis"])
def state(request, tmp_path):
    if request.param == "sqlite":
        return sqlite_state(tmp_path)
    return redis_state(request.getfixturevalue("server"))


@pytest.mark.parametrize("calls", range(4))
def test_a_kill_between_writing_and_telling_doubles_and_loses_nothing(state, root_uri, calls):
    root, told = place(root_uri), state.drained
    state.append(events(*(event(str(n)) for n in range(7))))
    left = [None] * calls

    def die(number):
        if not left:
            raise Killed
        left.pop()
        told(number)

    state.drained = die
    with pytest.raises(Killed):
        drain(state, root, max_rows=2)
    state.drained = told
    state.append(events(event("7")))
    drain(state, root, max_rows=3)
    assert ids(read_events(root)) == [str(n) for n in range(8)]
    assert drain(state, root) == 0


def test_the_forgotten_are_in_no_file_and_noted(state, root_uri):
    root = place(root_uri)
    state.append(events(event("a"), event("b", user_id="other")))
    state.log_served(shown("u"))
    drain(state, root)
    state.forget("u", START + timedelta(seconds=5))
    state.append(events(event("late", at=3), event("after", at=9)))
    assert drain(state, root) == 1
    assert ids(read_events(root)) == ["b", "after"]
    assert read_forgotten(root)["user_id"].to_pylist() == ["u"]


def test_nothing_drained_reads_as_nothing(root_uri):
    assert not len(read_events(place(root_uri)))
    assert not len(read_forgotten(place(root_uri)))
    assert isinstance(read_events(place(root_uri)), pa.Table)


def test_what_became_of_the_catalogue_is_there_as_it_is_last(board, root_uri):
    root, items = place(root_uri), Catalogue(board)
    assert drain_items(board, root) == read_items(root)
    at = "2024-01-01T00:00:00+00:00"
    items.put("a", {"title": "first", "tags": ["x"], "published_at": at}, START)
    items.put("b", {"title": "b"}, START)
    drain_items(board, root)
    assert read_items(root).put["item_id"].to_pylist() == ["a", "b"]
    items.put("a", {"title": "second", "published_at": at}, START)
    items.delete("b", START)
    drain_items(board, root)
    put, gone = read_items(root)
    [row] = put.to_pylist()
    assert (row["item_id"], row["title"], row["tags"]) == ("a", "second", None)
    assert row["published_at"] == START
    assert gone["item_id"].to_pylist() == ["b"]
