import numpy as np
import pytest

from jobs.benchmark_towers_speed import _lists

ASKED = np.arange(100)


def lists_finding(some):
    """The item that is asked comes second, for some of the users."""
    lists = np.full((100, 10), -1, np.int32)
    lists[:some, 1] = ASKED[:some]
    return lists


@pytest.mark.parametrize(("some", "met"), [(60, True), (50, True), (49, True), (30, False)])
def test_lists_are_lower_only_where_the_interval_of_their_difference_is(some, met):
    """The peer finds what 50 of 100 users asked for; one user less may be chance, 20 are not."""
    line = _lists(lists_finding(some), lists_finding(50), ASKED, epochs=5)
    assert line["met"] is met
    assert line["ours"] == pytest.approx(some / 100 / np.log2(3), abs=1e-4)
    assert line["low"] <= line["ours"] - line["peer"] + 1e-4 <= line["high"] + 2e-4
