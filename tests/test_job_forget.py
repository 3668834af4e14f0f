import pytest

from avrec.ledger import Ledger, held
from avrec.store import place
from jobs.forget import run
from tests.test_ledger import SCHEMA, rows_of


@pytest.fixture
def root(root_uri):
    root = place(root_uri)
    for producer in ("old@1", "new@1"):
        Ledger(root, producer, "text", SCHEMA).write(rows_of("a", 1), ["a"])
    return root


def test_forgets_what_is_named_and_lists_the_rest(root, capsys):
    run(root, ["old@1"])
    assert [one.producer for one in held(root)] == ["new@1"]
    assert capsys.readouterr().out.startswith("new@1  text  1 parts  ")


def test_forgets_nothing_that_is_not_named(root):
    run(root, [])
    assert len(held(root)) == 2
    with pytest.raises(SystemExit, match="holds no 'olt@1', only"):
        run(root, ["olt@1"])
    assert len(held(root)) == 2
