from avrec.distributed.attempts import MAX_TRIES, Attempt, clear
from avrec.store import place


def attempt(root_uri, run="run", contents=("a", "b")):
    return Attempt(place(root_uri), run, "", contents)


def test_the_first_attempt_is_not_careful_and_one_after_a_death_is(root_uri):
    assert not attempt(root_uri).careful
    assert attempt(root_uri).careful


def test_a_block_that_was_done_is_forgotten(root_uri):
    attempt(root_uri).done()
    again = attempt(root_uri)
    assert not again.careful
    again.done()
    again.done()


def test_a_content_is_given_up_after_so_many_deaths_and_others_are_not(root_uri):
    attempt(root_uri)
    for _ in range(MAX_TRIES):
        one = attempt(root_uri)
        assert not one.given_up("b")
        one.begin("a")
        one.end("a")
        one.begin("b")
    last = attempt(root_uri)
    assert last.given_up("b")
    assert not last.given_up("a")


def test_other_blocks_and_other_runs_do_not_count(root_uri):
    attempt(root_uri)
    assert not attempt(root_uri, contents=("a", "c")).careful
    assert not attempt(root_uri, run="next").careful
    clear(place(root_uri))
    assert not attempt(root_uri).careful
    clear(place(root_uri))
