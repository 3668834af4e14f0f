import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.models.negatives import Proposal, Stream

SHARES = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625])


def targets(shares, size, seed=0):
    return np.random.default_rng(seed).choice(len(shares), size, p=shares).astype(np.int32)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("uniform", np.full(5, 0.2)),
        ("popularity", SHARES),
        ("in_batch", SHARES),
        ("mixed", 0.7 * 0.2 + 0.3 * SHARES),
    ],
)
def test_items_come_as_often_as_expected(kind, expected):
    proposal = Proposal(kind=kind, count=100_000, share=0.3)
    batch = targets(SHARES, 1_000_000)
    found = proposal.draw(SHARES, batch, np.random.default_rng(1))
    assert found.items.shape == (100_000,)
    counts = np.bincount(found.items, minlength=5)
    np.testing.assert_allclose(counts, 100_000 * expected, rtol=0.05)
    np.testing.assert_allclose(found.log_expected, np.log(100_000 * expected)[found.items], 1e-4)


def test_the_same_generator_draws_the_same():
    proposal = Proposal(kind="mixed", count=20)
    first, second = (
        proposal.draw(SHARES, np.arange(5, dtype=np.int32), np.random.default_rng(3))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.items, second.items)


def test_in_batch_draws_only_from_the_batch():
    found = Proposal(kind="in_batch", count=50).draw(
        SHARES, np.array([1, 3], np.int32), np.random.default_rng(0)
    )
    assert set(found.items.tolist()) == {1, 3}


def test_a_stream_learns_the_shares_of_its_targets():
    stream = Stream(len(SHARES), rate=0.01)
    for step in range(2000):
        stream.see(targets(SHARES, 20, seed=step))
    np.testing.assert_allclose(stream.shares(), SHARES, rtol=0.4)
    assert (np.diff(stream.shares()[:4]) < 0).all()


def test_a_stream_follows_a_change():
    stream = Stream(len(SHARES), rate=0.05)
    for step in range(600):
        stream.see(targets(SHARES if step < 300 else SHARES[::-1], 20, seed=step))
    np.testing.assert_allclose(stream.shares(), SHARES[::-1], rtol=0.7)


def test_an_item_never_seen_is_rarer_than_any_that_was():
    stream = Stream(3)
    stream.see(np.array([0, 0, 1, 0], np.int32))
    shares = stream.shares()
    assert shares[2] < shares[1] < shares[0]


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), max_size=6))
def test_shares_are_above_0_and_at_most_1(batches):
    stream = Stream(5)
    for batch in batches:
        stream.see(np.array(batch, np.int32))
    assert (stream.shares() > 0).all()
    assert (stream.shares() <= 1).all()


def test_state_written_back_goes_on_as_before():
    whole, resumed = Stream(5), Stream(5)
    whole.see(targets(SHARES, 30))
    for name, values in whole.state().items():
        resumed.state()[name][:] = values
    for stream in (whole, resumed):
        stream.see(targets(SHARES, 30, seed=1))
    np.testing.assert_array_equal(whole.shares(), resumed.shares())
