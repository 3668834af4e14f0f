import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.feedback import FeedbackConfig, finished, labels, to_interactions
from avrec.schema import EVENT_KINDS, EVENTS, INTERACTIONS, LABELS, TIME

AT, SECOND = 1_748_779_200_000_000, 1_000_000
DURATIONS = pa.table(
    {"item_id": ["ten", "odd", "hundred"], "duration_seconds": pa.array([10.0, None, 100.0])}
)
CONFIG = FeedbackConfig()


def events(*rows: tuple) -> pa.Table:
    """Events of one user a second apart, each an item, a kind, and what else there is of it."""
    full = [
        {"user_id": "u", "item_id": item, "kind": kind, "event_id": f"{n}", "at": AT + n * SECOND}
        | (more[0] if more else {})
        for n, (item, kind, *more) in enumerate(rows)
    ]
    columns = {
        field.name: pa.array([row.get(field.name) for row in full], field.type)
        if field.name != "at"
        else pa.array([row["at"] for row in full], pa.int64()).cast(TIME)
        for field in EVENTS
    }
    return pa.table(columns, schema=EVENTS)


def to(seconds: float) -> dict[str, float]:
    return {"position_seconds": seconds}


@pytest.mark.parametrize(
    ("rows", "weight", "second"),
    [
        ([("ten", "complete")], 1.0, 0),
        ([("ten", "play", to(0)), ("ten", "progress", to(4)), ("ten", "progress", to(6))], 0.6, 1),
        ([("ten", "progress", to(14))], 1.0, 0),
        ([("ten", "progress", to(6)), ("ten", "progress", to(3))], 0.6, 0),
        ([("ten", "play"), ("ten", "skip", to(7))], 0.7, 1),
        ([("ten", "play")], 0.5, 0),
        ([("odd", "play"), ("odd", "progress", to(3))], 0.5, 0),
        ([("ten", "skip", to(1)), ("ten", "like")], 2.0, 1),
        ([("ten", "complete"), ("ten", "like"), ("ten", "share")], 5.0, 0),
        ([("ten", "like"), ("ten", "like")], 2.0, 0),
        ([("ten", "rate", {"value": 4.0})], 2.0, 0),
        ([("ten", "rate", {"value": 2.0}), ("ten", "rate", {"value": 5.0})], 2.0, 1),
        ([("ten", "dislike"), ("ten", "like")], 2.0, 1),
    ],
)
def test_weight_and_first_moment(rows, weight, second):
    (row,) = to_interactions(events(*rows), DURATIONS, CONFIG).to_pylist()
    assert row["weight"] == pytest.approx(weight)
    assert row["at"].timestamp() * SECOND == AT + second * SECOND


@pytest.mark.parametrize(
    "rows",
    [
        [("ten", "impression")],
        [("ten", "search")],
        [("ten", "play"), ("ten", "skip", to(1.9))],
        [("ten", "play"), ("ten", "skip")],
        [("ten", "play", to(0)), ("ten", "progress", to(1.9))],
        [("ten", "rate", {"value": 3.5})],
        [("ten", "complete"), ("ten", "dislike")],
        [("ten", "like"), ("ten", "hide")],
        [],
    ],
)
def test_no_sign_of_liking_is_no_interaction(rows):
    found = to_interactions(events(*rows), DURATIONS, CONFIG)
    assert found.equals(INTERACTIONS.empty_table())


@pytest.mark.parametrize(
    ("rows", "kind", "share"),
    [
        ([("ten", "complete")], "complete", 1.0),
        (
            [("ten", "play", to(0)), ("ten", "progress", to(6)), ("ten", "skip", to(3))],
            "progress",
            0.6,
        ),
        ([("ten", "play")], "play", None),
        ([("odd", "play"), ("odd", "progress", to(3))], "play", None),
        ([("ten", "complete"), ("ten", "like"), ("ten", "share")], "like", 1.0),
        ([("ten", "share"), ("ten", "rate", {"value": 5.0})], "share", None),
        ([("ten", "rate", {"value": 5.0}), ("ten", "skip", to(1))], "rate", 0.1),
    ],
)
def test_kind_is_what_tells_the_most_and_share_the_most_watched(rows, kind, share):
    (row,) = to_interactions(events(*rows), DURATIONS, CONFIG).to_pylist()
    assert row["kind"] == kind
    assert row["share"] == pytest.approx(share)


def test_pairs_are_apart_and_sorted():
    v = {"user_id": "v"}
    found = to_interactions(
        events(("ten", "complete", v), ("odd", "like"), ("hundred", "progress", to(50))),
        DURATIONS,
        CONFIG,
    )
    pairs = list(zip(found["user_id"].to_pylist(), found["item_id"].to_pylist(), strict=True))
    assert pairs == [("u", "hundred"), ("u", "odd"), ("v", "ten")]
    np.testing.assert_allclose(found["weight"], [0.5, 2.0, 1.0])


ANY_EVENT = st.tuples(
    st.sampled_from(["ten", "odd", "hundred"]),
    st.sampled_from(EVENT_KINDS),
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from("uv"),
            "position_seconds": st.one_of(st.none(), st.floats(0, 12)),
            "value": st.one_of(st.none(), st.floats(0, 5)),
            "request_id": st.sampled_from([None, "r", "s"]),
        }
    ),
)


@given(rows=st.lists(ANY_EVENT, max_size=25), rng=st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows, rng):
    table = events(*rows)
    order = list(range(len(rows)))
    rng.shuffle(order)
    mixed = table.take(pa.array(order, pa.int64()))
    assert to_interactions(table, DURATIONS, CONFIG).equals(
        to_interactions(mixed, DURATIONS, CONFIG)
    )
    assert finished(table, DURATIONS, CONFIG).equals(finished(mixed, DURATIONS, CONFIG))
    by_time = labels(mixed, DURATIONS, CONFIG).sort_by("at")
    assert by_time.equals(labels(table, DURATIONS, CONFIG).sort_by("at"))


@given(rows=st.lists(ANY_EVENT, max_size=25))
def test_users_do_not_matter_to_each_other(rows):
    table = events(*rows)
    whole = to_interactions(table, DURATIONS, CONFIG)
    apart = [
        to_interactions(table.filter(pa.compute.equal(table["user_id"], user)), DURATIONS, CONFIG)
        for user in "uv"
    ]
    assert whole.equals(pa.concat_tables(apart).combine_chunks()) or not len(whole)


def label_of(*rows: tuple) -> list[float]:
    found = labels(events(*rows), DURATIONS, CONFIG)
    assert found.schema == LABELS
    return found["label"].to_pylist()


@pytest.mark.parametrize(
    ("rows", "label"),
    [
        ([], 0.0),
        ([("ten", "play"), ("ten", "progress", to(3)), ("ten", "skip", to(5))], 0.5),
        ([("ten", "play"), ("ten", "skip", to(1))], 0.1),
        ([("ten", "play"), ("ten", "complete")], 1.0),
        ([("odd", "complete")], 0.0),
        ([("ten", "play")], 0.5),
        ([("ten", "skip", to(1)), ("ten", "like")], 1.0),
        ([("ten", "complete"), ("ten", "dislike")], 0.0),
        ([("ten", "rate", {"value": 5.0})], 1.0),
        ([("ten", "complete", {"user_id": "v"})], 0.0),
        ([("ten", "complete", {"at": AT + 10**12})], 0.0),
    ],
)
def test_label_of_an_impression(rows, label):
    assert label_of(("ten", "impression"), *rows) == [pytest.approx(label)]


def test_what_follows_belongs_to_the_impression_before_it():
    shown = ("ten", "impression")
    assert label_of(("ten", "complete"), shown, shown, ("ten", "progress", to(4)), shown) == [
        pytest.approx(label) for label in (0.0, 0.4, 0.0)
    ]


def test_request_decides_where_both_name_one():
    r, s = {"request_id": "r"}, {"request_id": "s"}
    shown = [("ten", "impression", r), ("ten", "impression", s)]
    assert label_of(*shown, ("ten", "complete", r)) == [1.0, 0.0]
    assert label_of(*shown, ("ten", "complete")) == [0.0, 1.0]
    assert label_of(shown[0], ("ten", "complete", s)) == [0.0]
    assert label_of(("ten", "impression"), ("ten", "complete", s)) == [1.0]


def test_labels_keep_request_and_moment():
    r = {"request_id": "r"}
    found = labels(events(("ten", "impression", r), ("ten", "like", r)), DURATIONS, CONFIG)
    assert found["request_id"].to_pylist() == ["r"]
    assert found["at"].cast(pa.int64()).to_pylist() == [AT]


@pytest.mark.parametrize(
    ("row", "done"),
    [
        (("ten", "complete"), True),
        (("ten", "progress", to(9)), True),
        (("ten", "dislike"), True),
        (("odd", "hide"), True),
        (("ten", "progress", to(8.9)), False),
        (("odd", "progress", to(1000)), False),
        (("ten", "like"), False),
        (("ten", "impression", to(10)), False),
        (("ten", "skip"), False),
    ],
)
def test_finished(row, done):
    pairs = finished(events(row, row), DURATIONS, CONFIG).to_pylist()
    assert pairs == ([{"user_id": "u", "item_id": row[0]}] if done else [])


def test_empty_in_empty_out():
    none = EVENTS.empty_table()
    assert len(labels(none, DURATIONS, CONFIG)) == 0
    assert len(finished(none, DURATIONS, CONFIG)) == 0
    assert len(to_interactions(none, DURATIONS.slice(0, 0), CONFIG)) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"like": -1.0}, "like must be at least 0, got -1.0"),
        ({"min_share": 1.5}, r"min_share must be in \[0, 1\], got 1.5"),
        ({"label_window_seconds": 0.0}, "label_window_seconds must be above 0, got 0.0"),
    ],
)
def test_config_is_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        FeedbackConfig(**fields)
