from hypothesis import given
from hypothesis import strategies as st

from avrec.serving.rates import Rates


@given(
    st.sampled_from([0.5, 1, 3, 40]),
    st.lists(st.floats(0, 2), min_size=1, max_size=60),
    st.integers(1, 4),
)
def test_no_span_sees_more_than_its_share(limit, gaps, num_replicas):
    rates, now, passed = Rates(limit, num_replicas), 0.0, []
    for gap in gaps:
        now += gap
        if not rates.wait_seconds("k", None, now):
            passed.append(now)
    rate = limit / num_replicas
    for first, start in enumerate(passed):
        for count, stop in enumerate(passed[first:], start=1):
            assert count <= max(1, rate) + (stop - start) * rate + 1e-6


@given(st.sampled_from([0.5, 1, 3, 40]), st.integers(1, 50))
def test_who_waits_as_told_gets_in(limit, rounds):
    rates, now = Rates(limit), 0.0
    for _ in range(rounds):
        wait = rates.wait_seconds("k", None, now)
        now += wait + 1e-9
        assert not wait or not rates.wait_seconds("k", None, now)


def test_keys_do_not_share_and_may_have_limits_of_their_own():
    rates = Rates(1.0)
    assert not rates.wait_seconds("a", None, 0)
    assert rates.wait_seconds("a", None, 0) == 1
    assert not rates.wait_seconds("b", None, 0)
    assert not any(rates.wait_seconds("c", 100, 0) for _ in range(100))
    assert not any(Rates().wait_seconds("a", None, 0) for _ in range(1000))
