import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.schema import INTERACTIONS, TIME
from avrec.splits import SplitConfig, by_time

SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.4])


def interactions(at: list[int]) -> pa.Table:
    columns = [
        pa.array([f"u{n}" for n in range(len(at))], pa.string()),
        pa.array(["i"] * len(at), pa.string()),
        pa.array([1.0] * len(at), pa.float32()),
        pa.array(at, pa.int64()).cast(TIME),
    ]
    return pa.table(columns, schema=INTERACTIONS)


def moments(table: pa.Table) -> np.ndarray:
    return table["at"].cast(pa.int64()).to_numpy()


@given(at=st.lists(st.integers(0, 20), max_size=60), rank=SHARES, test=SHARES)
def test_later_never_trains_for_earlier_and_nothing_is_lost(at, rank, test):
    table = interactions(at)
    split = by_time(table, SplitConfig(rank_share=rank, test_share=test))
    assert split.rank_at <= split.test_at
    assert (moments(split.train) < split.rank_at).all()
    assert (moments(split.rank) >= split.rank_at).all()
    assert (moments(split.rank) < split.test_at).all()
    assert (moments(split.test) >= split.test_at).all()
    union = pa.concat_tables([split.train, split.rank, split.test])
    assert union.sort_by("user_id").equals(table.sort_by("user_id"))


@given(at=st.lists(st.integers(0, 10**9), min_size=10, max_size=60, unique=True))
def test_shares_are_as_asked_to_a_row(at):
    split = by_time(interactions(at), SplitConfig(rank_share=0.2, test_share=0.3))
    assert abs(len(split.test) - 0.3 * len(at)) <= 1
    assert abs(len(split.rank) - 0.2 * len(at)) <= 1


def test_share_of_zero_is_no_row():
    split = by_time(interactions([1, 2, 3]), SplitConfig(rank_share=0, test_share=0))
    assert [len(split.train), len(split.rank), len(split.test)] == [3, 0, 0]


def test_no_interactions():
    split = by_time(INTERACTIONS.empty_table(), SplitConfig())
    assert [len(split.train), len(split.rank), len(split.test)] == [0, 0, 0]
    assert split.rank_at == split.test_at == 0


def test_refuses_shares_that_leave_no_train():
    with pytest.raises(ValueError, match=r"rank_share \+ test_share must be below 1, got 1\.0"):
        SplitConfig(rank_share=0.5, test_share=0.5)
    with pytest.raises(ValueError, match=r"test_share must be in \[0, 1\), got -0\.1"):
        SplitConfig(test_share=-0.1)
