import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.schema import INTERACTIONS, TIME, conform
from avrec.splits import ItemSplitConfig, SplitConfig, by_item, by_time, hidden

SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.4])


def interactions(at: list[int]) -> pa.Table:
    columns = [
        pa.array([f"u{n}" for n in range(len(at))], pa.string()),
        pa.array(["i"] * len(at), pa.string()),
        pa.array([1.0] * len(at), pa.float32()),
        pa.array(at, pa.int64()).cast(TIME),
    ]
    return conform(pa.table(columns, names=INTERACTIONS.names[:4]), INTERACTIONS)


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


PAIRS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 30), st.integers(0, 5)),
    max_size=60,
    unique_by=lambda pair: pair[:2],
)


def took_to(pairs) -> pa.Table:
    columns = [
        pa.array([f"u{user}" for user, _, _ in pairs], pa.string()),
        pa.array([f"i{item:02}" for _, item, _ in pairs], pa.string()),
        pa.array([1.0] * len(pairs), pa.float32()),
        pa.array([at for *_, at in pairs], pa.int64()).cast(TIME),
    ]
    return conform(pa.table(columns, names=INTERACTIONS.names[:4]), INTERACTIONS)


def pairs_of(table):
    return set(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))


@given(pairs=PAIRS, cold=SHARES, warm=SHARES, seed=st.integers(0, 3))
def test_a_hidden_item_is_hidden_wholly_and_nothing_is_lost(pairs, cold, warm, seed):
    table = took_to(pairs)
    config = ItemSplitConfig(cold_share=cold, warm_share=warm)
    split = by_item(table, config, seed=seed)
    told = set(split.train["item_id"].to_pylist()) | set(split.warm["item_id"].to_pylist())
    assert not told & set(split.cold["item_id"].to_pylist())
    parts = [pairs_of(part) for part in (split.train, split.warm, split.cold)]
    assert set.union(*parts) == pairs_of(table)
    assert sum(map(len, parts)) == len(table)


@given(pairs=PAIRS, warm=SHARES)
def test_of_the_other_items_the_latest_of_each_user_are_held_back(pairs, warm):
    split = by_item(took_to(pairs), ItemSplitConfig(cold_share=0, warm_share=warm), seed=0)
    for user in range(5):
        mine = [
            part.filter(pc.equal(part["user_id"], f"u{user}")) for part in (split.train, split.warm)
        ]
        early, late = map(moments, mine)
        assert len(late) == int(np.floor(warm * (len(early) + len(late))))
        assert not len(late) or not len(early) or early.max() <= late.min()


@given(pairs=PAIRS, seed=st.integers(0, 3))
def test_which_items_are_hidden_depends_on_no_other_row(pairs, seed):
    table, config = took_to(pairs), ItemSplitConfig(cold_share=0.4, warm_share=0)
    whole, half = by_item(table, config, seed=seed), by_item(table[::2], config, seed=seed)
    assert pairs_of(half.cold) == pairs_of(whole.cold) & pairs_of(table[::2])


def test_about_the_share_asked_for_is_hidden_and_each_seed_hides_its_own():
    ids = pa.chunked_array([[f"item {n}" for n in range(4000)]])
    first, second = (hidden(ids, 0.2, seed) for seed in (0, 1))
    assert first.mean() == pytest.approx(0.2, abs=0.03)
    assert (first & second).mean() == pytest.approx(0.04, abs=0.02)


def test_refuses_to_hide_everything():
    with pytest.raises(ValueError, match=r"cold_share must be in \[0, 1\), got 1\.0"):
        ItemSplitConfig(cold_share=1.0)
