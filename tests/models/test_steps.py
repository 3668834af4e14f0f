import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avrec.interactions import Histories
from avrec.models.steps import (
    SECOND,
    by_length,
    gaps,
    latest_windows,
    marks,
    share_buckets,
    steps,
    windows_of,
)


def timed(lengths):
    """Histories of distinct items, one second apart."""
    count = sum(lengths)
    return Histories(
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        np.arange(count, dtype=np.int32),
        np.ones(count, np.float32),
        np.arange(count) * SECOND,
    )


@given(lengths=st.lists(st.integers(0, 30), max_size=8), width=st.integers(2, 9))
def test_every_item_but_the_first_of_each_history_is_foretold_once(lengths, width):
    histories = timed(lengths)
    columns = windows_of(histories, width, most=100)
    targets = columns["items"][:, 1:]
    firsts = histories.offsets[:-1][histories.lengths() > 0]
    expected = np.setdiff1d(histories.items, firsts)
    assert sorted(targets[targets >= 0].tolist()) == expected.tolist()
    inside = columns["items"] >= 0
    assert (np.diff(columns["items"], axis=1)[inside[:, 1:]] == 1).all()
    np.testing.assert_array_equal(
        columns["query"], histories.query_of_item()[columns["items"][:, 0]]
    )


def test_of_a_long_history_the_latest_windows_are_taken():
    columns = windows_of(timed([8, 1, 3]), width=3, most=2)
    assert columns["items"].tolist() == [[5, 6, 7], [3, 4, 5], [9, 10, 11]]
    assert columns["query"].tolist() == [0, 0, 2]
    assert columns["at"][0].tolist() == [5 * SECOND, 6 * SECOND, 7 * SECOND]


def test_latest_items_are_padded_behind():
    columns = latest_windows(timed([3, 0, 1]), width=2)
    assert columns["items"].tolist() == [[1, 2], [-1, -1], [3, -1]]
    assert columns["marks"].tolist() == [[1, 1], [0, 0], [1, 0]]
    assert latest_windows(timed([0]), width=2)["items"].tolist() == [[-1, -1]]


@given(st.lists(st.integers(0, 60), max_size=60))
def test_groups_hold_each_row_once_and_pad_little(lengths):
    lengths = np.array(lengths, np.int64)
    groups = list(by_length(lengths))
    assert sorted(np.concatenate([*groups, []]).tolist()) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= 8 or lengths[group].min() >= 0.75 * lengths[group].max()


def test_buckets_grow_with_the_gap_and_a_first_step_has_none():
    at = np.array([[100, 100, 101, 108, 108 + 10**9]]) * SECOND
    found = gaps(at, np.array([[True] * 4 + [False]]))
    assert found.tolist() == [[0, 1, 2, 4, 0]]
    assert marks(np.array([0, 0.2, 1, 100])).tolist() == [0, 1, 4, 31]


def test_shares_are_in_tenths_and_unknown_where_nothing_says():
    found = share_buckets(np.array([np.nan, 0, 0.04, 0.5, 1, 7], np.float32))
    assert found.tolist() == [0, 1, 1, 6, 11, 11]


def test_kinds_and_shares_come_along_or_are_unknown():
    bare = timed([3, 1])
    told = dataclasses.replace(
        bare, kinds=np.array([3, 2, 1, 4], np.int8), shares=np.array([1, 0, 0.5, np.nan])
    )
    assert latest_windows(told, width=2)["kinds"].tolist() == [[2, 1], [4, 0]]
    group = steps(latest_windows(told, 2), np.array([0, 1]), np.array([2, 1]), 10)
    assert group.kinds.tolist() == [[2, 1], [4, 0]]
    assert group.shares.tolist() == [[1, 6], [0, 0]]
    assert not latest_windows(bare, width=2)["kinds"].any()
    assert not latest_windows(bare, width=2)["shares"].any()


def test_steps_count_places_from_the_end():
    columns = latest_windows(timed([3, 1]), width=4)
    group = steps(columns, np.array([0, 1]), np.array([3, 1]), history_length=10)
    assert group.places.tolist() == [[7, 8, 9], [9, 9, 9]]
    assert group.present.tolist() == [[True] * 3, [True, False, False]]
    assert group.at.tolist() == [[0, 1, 2], [0, -3, -3]]
    assert group.items.tolist() == [[0, 1, 2], [3, 0, 0]]
