import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.benchmark_embed_words import error_rate, errors, words

TEXTS = st.lists(st.sampled_from("abc"), max_size=6)


def test_both_sides_are_made_alike():
    assert words("Mr. John Dashwood had 2 cats; one's ill-disposed!") == (
        ["mister", "john", "dashwood", "had", "two", "cats", "ones", "ill", "disposed"]
    )
    assert words("42, 20 and 100.") == ["forty", "two", "twenty", "and", "one", "zero", "zero"]
    assert words("Café\u2019s") == ["cafes"]
    assert words(" ... ") == []


@given(TEXTS, TEXTS)
def test_errors_are_a_distance(said, heard):
    count = errors(said, heard)
    assert count == errors(heard, said)
    assert (count == 0) == (said == heard)
    assert abs(len(said) - len(heard)) <= count <= max(len(said), len(heard))


@given(TEXTS, TEXTS, TEXTS)
def test_a_way_round_is_no_shorter(one, two, three):
    assert errors(one, three) <= errors(one, two) + errors(two, three)


def test_a_rate_is_over_the_words_said():
    pairs = [("one two three four", "one too three"), ("Zero.", "0")]
    assert error_rate(pairs) == pytest.approx(2 / 5)
