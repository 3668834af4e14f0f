import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.serving.judge import TRIAL_WINDOWS, Judge, Tolerance


def judge(window=20, max_errors=0.1, max_slowdown=2.0):
    return Judge(Tolerance(window=window, max_errors=max_errors, max_slowdown=max_slowdown))


def note(one, version, *milliseconds, failed=False):
    for value in milliseconds:
        one.note(version, value, failed=failed)


def test_failures_beyond_the_limit_are_told_before_the_window_is_full():
    one = judge()
    note(one, "new", 1, 1, failed=True)
    assert one.fault("new", "old") is None
    note(one, "new", 1, failed=True)
    assert "3 of 3 lists failed" in one.fault("new", "old")


def test_as_many_failures_as_before_are_no_fault():
    one = judge()
    for version in ("old", "new"):
        note(one, version, *[1] * 12)
        note(one, version, *[1] * 8, failed=True)
    assert one.fault("new", "old") is None
    assert one.fault("new", "other") is not None


def test_slower_than_allowed_is_told_when_both_windows_are_full():
    one = judge()
    note(one, "old", *[10] * 20)
    note(one, "new", *[40] * 19)
    assert one.fault("new", "old") is None
    note(one, "new", 40)
    assert one.fault("new", "old") == "95 % of lists take up to 40.0 ms, before 10.0 ms"
    assert one.fault("old", "new") is None


@given(st.lists(st.floats(0, 100), min_size=20, max_size=20))
def test_the_same_times_are_no_fault(times):
    one = judge()
    note(one, "old", *times)
    note(one, "new", *times)
    assert one.fault("new", "old") is None


def test_only_the_latest_window_counts_and_a_trial_ends():
    one = judge()
    note(one, "new", *[1] * 3, failed=True)
    note(one, "new", *[1] * (20 * TRIAL_WINDOWS - 4))
    assert one.on_trial("new")
    note(one, "new", 1)
    assert not one.on_trial("new")
    assert one.fault("new", "old") is None
    one.start("new")
    assert one.on_trial("new")


def test_wrong_limits_are_refused():
    with pytest.raises(ValueError, match="max_slowdown must be at least 1, got 0"):
        Tolerance(max_slowdown=0)
