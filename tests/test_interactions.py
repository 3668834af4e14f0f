from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from avrec.interactions import Histories, histories, stacked, weight_matrix
from avrec.schema import EVENT_KINDS, INTERACTIONS, TIME, conform
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of([f"i{n}" for n in range(6)])
ROW = st.tuples(
    st.sampled_from("abcd"), st.integers(0, 7), st.sampled_from([0.5, 1, 2]), st.integers(0, 9)
)
ROWS = st.lists(ROW, max_size=30)


def table(rows) -> pa.Table:
    user, item, weight, at = zip(*rows, strict=True) if rows else ([], [], [], [])
    columns = [
        pa.array(user, pa.string()),
        pa.array([f"i{n}" for n in item], pa.string()),
        pa.array(weight, pa.float32()),
        pa.array(at, pa.int64()).cast(TIME),
    ]
    return conform(pa.table(columns, names=INTERACTIONS.names[:4]), INTERACTIONS)


def listed(rows: Histories) -> list[list[tuple[int, float, int]]]:
    cells = list(zip(rows.items.tolist(), rows.weights.tolist(), rows.at.tolist(), strict=True))
    bounds = rows.offsets
    return [cells[bounds[q] : bounds[q + 1]] for q in range(len(rows))]


def distinct(rows):
    """Drop rows of one user, item and moment: their order is not defined."""
    return list(
        {(user, item, at): (user, item, weight, at) for user, item, weight, at in rows}.values()
    )


@given(rows=ROWS)
def test_history_is_what_a_loop_gives(rows):
    rows = distinct(rows)
    found = histories(table(rows), ITEMS)
    known = [row for row in rows if row[1] < len(ITEMS)]
    users = sorted({user for user, *_ in known})
    assert found.users.ids.to_pylist() == users
    expected = [
        [(i, w, t) for t, i, w in sorted((t, i, w) for u, i, w, t in known if u == user)]
        for user in users
    ]
    assert listed(found.histories) == expected


def test_kinds_and_shares_stay_with_their_items():
    """Through sorting, cutting, dropping and taking; unknown where the table says nothing."""
    rows = [("a", 2, 1, 5), ("a", 1, 1, 3), ("b", 0, 1, 4), ("a", 0, 1, 9)]
    kinds, watched = pa.array(["like", None, "play", "complete"]), [1.0, None, 0.25, 0.5]
    told = table(rows).set_column(4, "kind", kinds)
    found = histories(told.set_column(5, "share", pa.array(watched, pa.float32())), ITEMS).histories
    like, play, complete = (1 + EVENT_KINDS.index(k) for k in ("like", "play", "complete"))
    assert found.kinds.tolist() == [0, like, complete, play]
    np.testing.assert_array_equal(found.shares, [np.nan, 1, 0.5, 0.25])
    later = found.only(found.items != 1).take(np.array([1, 0])).last(1)
    assert later.kinds.tolist() == [play, complete]
    assert later.shares.tolist() == [0.25, 0.5]
    bare = histories(table(rows), ITEMS).histories
    assert not bare.kinds.any()
    assert np.isnan(bare.shares).all()


@given(rows=ROWS, rng=st.randoms(use_true_random=False), cut=st.integers(0, 30))
def test_order_and_chunking_do_not_matter(rows, rng, cut):
    rows = distinct(rows)
    mixed = list(rows)
    rng.shuffle(mixed)
    chunked = pa.concat_tables([table(mixed[:cut]), table(mixed[cut:])])
    assert listed(histories(chunked, ITEMS).histories) == listed(
        histories(table(rows), ITEMS).histories
    )
    here, there = weight_matrix(table(rows), ITEMS), weight_matrix(chunked, ITEMS)
    np.testing.assert_array_equal(here.weights.toarray(), there.weights.toarray())


@given(rows=ROWS)
def test_matrix_of_histories_is_the_weight_matrix(rows):
    matrix = weight_matrix(table(rows), ITEMS)
    found = histories(table(rows), ITEMS)
    assert found.users.ids.equals(matrix.users.ids)
    np.testing.assert_allclose(
        found.histories.matrix(len(ITEMS)).toarray(), matrix.weights.toarray()
    )


@given(rows=ROWS, moment=st.integers(-1, 11))
def test_as_of_is_strictly_before(rows, moment):
    found = histories(table(distinct(rows)), ITEMS).histories
    every = np.arange(len(found), dtype=np.int32)
    before = found.as_of(every, np.full(len(found), moment))
    assert listed(before) == [[cell for cell in row if cell[2] < moment] for row in listed(found)]


@given(rows=ROWS, count=st.integers(0, 5))
def test_last_keeps_the_latest(rows, count):
    found = histories(table(distinct(rows)), ITEMS).histories
    expected = [row[max(len(row) - count, 0) :] for row in listed(found)]
    assert listed(found.last(count)) == expected


@given(rows=ROWS, picks=st.lists(st.integers(0, 10), max_size=6))
def test_take_repeats_and_reorders(rows, picks):
    found = histories(table(distinct(rows)), ITEMS).histories
    picks = np.array([pick for pick in picks if pick < len(found)], np.int32)
    taken = found.take(picks)
    assert listed(taken) == [listed(found)[pick] for pick in picks]
    assert taken.lengths().tolist() == [len(found.row(int(pick))) for pick in picks]


@given(first=ROWS, second=ROWS)
def test_then_and_union_are_what_lists_do(first, second):
    users = Vocabulary.of(list("abcd"))
    one, two = (histories(table(rows), ITEMS, users).histories for rows in (first, second))
    both = [a + b for a, b in zip(listed(one), listed(two), strict=True)]
    assert listed(one.then(two)) == both
    assert listed(stacked([one, two])) == listed(one) + listed(two)
    united = one.union(two)
    for query, cells in enumerate(both):
        assert united.row(query).tolist() == sorted({item for item, _, _ in cells})


def test_what_is_joined_keeps_kinds_and_shares_and_says_where_they_are_unknown():
    told = Histories.of([np.array([3, 1])])
    told = replace(told, kinds=np.array([2, 1], np.int8), shares=np.array([0.5, 1], np.float32))
    both = told.then(Histories.of([np.array([5])]))
    assert both.kinds.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(both.shares, [0.5, 1, np.nan])


def test_as_of_takes_its_own_moment_for_each_row():
    found = histories(table([("a", 0, 1, 1), ("a", 1, 1, 5)]), ITEMS).histories
    rows = found.as_of(np.array([0, 0, 0], np.int32), np.array([1, 2, 6]))
    assert [row.tolist() for row in (rows.row(0), rows.row(1), rows.row(2))] == [[], [0], [0, 1]]


def test_ties_in_time_are_ordered_by_item():
    found = histories(table([("a", 3, 1, 1), ("a", 1, 1, 1), ("a", 2, 1, 0)]), ITEMS).histories
    assert found.row(0).tolist() == [2, 1, 3]


def test_given_users_all_have_a_row_and_others_none():
    users = Vocabulary.of(["a", "z"])
    found = histories(table([("a", 0, 1, 1), ("b", 1, 1, 1)]), ITEMS, users)
    assert listed(found.histories) == [[(0, 1.0, 1)], []]


def test_nothing_in_nothing_out():
    found = histories(INTERACTIONS.empty_table(), ITEMS)
    assert len(found.histories) == 0
    assert found.histories.matrix(len(ITEMS)).shape == (0, len(ITEMS))
    assert weight_matrix(INTERACTIONS.empty_table(), ITEMS).weights.shape == (0, len(ITEMS))
    assert len(Histories.of([])) == 0
    assert Histories.of([]).take(np.empty(0, np.int32)).lengths().tolist() == []


def test_rows_as_given():
    rows = Histories.of([np.array([3, 1], np.int32), np.empty(0, np.int32)])
    assert listed(rows) == [[(3, 1.0, 0), (1, 1.0, 0)], []]
    assert rows.query_of_item().tolist() == [0, 0]
