"""What every board must do."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.serving.board import Note
from avrec.serving.board_redis import RedisBoard
from avrec.serving.board_sqlite import SQLiteBoard
from avrec.serving.state import StateError
from avrec.serving.states import open_board
from tests.serving.states import redis_board, redis_server


def test_what_is_written_is_read_back(board):
    assert board.read("a") is None
    assert board.since(0) == []
    assert board.write("a", "é '\"; -- 🎧\0") == 1
    assert board.read("a") == Note("a", 1, "é '\"; -- 🎧\0")


def test_changes_come_in_order_and_a_note_once(board):
    for name, text in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")]:
        board.write(name, text)
    every = [Note("b", 2, "1"), Note("a", 3, "2"), Note("c", 4, "1")]
    assert board.since(0) == every
    assert board.since(2) == every[1:]
    assert board.since(0, most=2) == every[:2]
    assert board.since(4) == []


def test_the_same_again_changes_nothing(board):
    assert [board.write("a", "1"), board.write("a", "1"), board.write("a", "1", 0)] == [1, 1, 1]
    assert board.write("b", "1") == 2


def test_a_note_that_has_changed_in_between_is_not_overwritten(board):
    assert board.write("a", "mine", instead_of=0) == 1
    assert board.write("a", "theirs", instead_of=0) == 0
    assert board.write("a", "next", instead_of=1) == 2
    assert board.write("a", "late", instead_of=1) == 0
    assert board.read("a").text == "next"


def test_of_many_at_once_one_is_first(board):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: board.write("a", str(n), instead_of=0), range(40)))
    assert sorted(won) == [0] * 39 + [1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(-1, 9))))
def test_both_kinds_do_the_same(tmp_path_factory, server, writes):
    boards = SQLiteBoard(tmp_path_factory.mktemp("board") / "live.sqlite"), redis_board(server)
    for name, text, number in writes:
        wanted = None if number < 0 else number
        first, second = (board.write(name, text, wanted) for board in boards)
        assert first == second
    assert boards[0].since(0) == boards[1].since(0)


def test_another_process_sees_it_and_a_killed_server_loses_nothing(tmp_path):
    assert SQLiteBoard(tmp_path / "live.sqlite").write("a", "1") == 1
    assert open_board(str(tmp_path / "live.sqlite")).read("a") == Note("a", 1, "1")
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as server:
        board = RedisBoard(server.url)
        board.write("a", "1")
        server.kill()
        with pytest.raises(StateError, match="Redis cannot be used"):
            board.since(0)
        server.start()
        assert open_board(server.url).since(0) == [Note("a", 1, "1")]
