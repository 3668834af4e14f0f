import pytest

from avrec.config import RunConfig
from avrec.serving.routing import RoutingError, activated, first, write
from avrec.serving.states import open_board
from jobs.pipeline import served


def test_what_a_service_answers_with_or_may_go_back_to_is_served(tmp_path):
    config = RunConfig(served_by=str(tmp_path / "live.sqlite"))
    board = open_board(config.served_by)
    write(board, activated(first("old"), "new"), 0)
    assert served(config) == ["new", "old"]
    assert served(RunConfig()) == []


def test_a_service_that_names_nothing_is_an_error(tmp_path):
    with pytest.raises(RoutingError, match="no model is active"):
        served(RunConfig(served_by=str(tmp_path / "misspelt.sqlite")))
