from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.clean import CleanConfig, clean, require_some
from avrec.errors import InputError
from avrec.schema import EVENT_KINDS, EVENTS, TIME, conform
from avrec.vocab import Vocabulary

AT = 1_748_779_200_000_000
NOW = AT + 10**12
ITEMS = Vocabulary.of(["long", "odd", "short"])
DURATIONS = pa.table(
    {"item_id": ["short", "long", "odd"], "duration_seconds": pa.array([10.0, 100.0, None])}
)


def events(*rows: dict[str, object]) -> pa.Table:
    """Good events, but for what the rows say."""
    good = {"user_id": "u", "item_id": "short", "kind": "progress", "at": AT}
    rows = [good | {"event_id": f"e{n}", "at": AT + n} | row for n, row in enumerate(rows)]
    columns = {}
    for field in EVENTS:
        kind = pa.int64() if field.name == "at" else field.type
        column = pa.array([row.get(field.name) for row in rows], kind)
        columns[field.name] = column.cast(TIME) if field.name == "at" else column
    return pa.table(columns)


def counts(table: pa.Table, **limits) -> dict[str, int]:
    cleaned = clean(table, ITEMS, DURATIONS, CleanConfig(**limits), now=NOW)
    assert len(cleaned.events) + sum(cleaned.dropped["rows"].to_pylist()) == len(table)
    return {row["reason"]: row["rows"] for row in cleaned.dropped.to_pylist()}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"user_id": None}, "null_id"),
        ({"item_id": ""}, "null_id"),
        ({"user_id": "x" * 10_000}, "id_too_long"),
        ({"item_id": "🎧" * 600}, "id_too_long"),
        ({"request_id": "x" * 2049}, "id_too_long"),
        ({"kind": "watch"}, "unknown_kind"),
        ({"kind": None}, "unknown_kind"),
        ({"at": None}, "bad_time"),
        ({"at": -1}, "bad_time"),
        ({"at": NOW + 1}, "bad_time"),
        ({"item_id": "absent"}, "unknown_item"),
        ({"position_seconds": float("nan")}, "nan_position"),
        ({"position_seconds": float("inf")}, "nan_position"),
        ({"position_seconds": -0.5}, "negative_position"),
        ({"position_seconds": 15.5}, "position_past_end"),
        ({"kind": "rate"}, "bad_value"),
        ({"value": float("inf")}, "bad_value"),
    ],
)
def test_bad_row_is_counted_and_the_good_one_stays(row, reason):
    table = events({}, row)
    cleaned = clean(table, ITEMS, DURATIONS, CleanConfig(), now=NOW)
    assert cleaned.dropped.select(["reason", "rows"]).to_pylist() == [{"reason": reason, "rows": 1}]
    assert cleaned.events.equals(conform(table.slice(0, 1), EVENTS))


@pytest.mark.parametrize(
    "row",
    [
        {"user_id": 'it\'s "quoted"; DROP TABLE 🎧'},
        {"user_id": "x" * 2048},
        {"at": 0},
        {"at": NOW},
        {"position_seconds": 14.5},
        {"item_id": "odd", "position_seconds": 1e6},
        {"kind": "rate", "value": -3.0},
    ],
)
def test_odd_but_good_rows_stay(row):
    assert counts(events(row)) == {}


def test_example_names_the_row_and_is_short():
    table = events({}, {"user_id": "it's me", "position_seconds": -3.0}, {"user_id": "y" * 9999})
    dropped = clean(table, ITEMS, DURATIONS, CleanConfig(), now=NOW).dropped.to_pylist()
    examples = {row["reason"]: row["example"] for row in dropped}
    assert '"it\'s me"' in examples["negative_position"]
    assert "position_seconds -3.0" in examples["negative_position"]
    assert len(examples["id_too_long"]) < 300


def test_repeats_are_dropped_but_the_first():
    same_id = events({}, {"event_id": "e0", "item_id": "long"})
    assert counts(same_id) == {"duplicate": 1}
    same_thing = events({}, {"at": AT}, {"at": AT, "kind": "like"})
    assert counts(same_thing) == {"duplicate": 1}
    kept = clean(same_thing, ITEMS, DURATIONS, CleanConfig(), now=NOW).events
    assert kept["event_id"].to_pylist() == ["e0", "e2"]


def test_user_too_fast_for_a_human_is_a_bot():
    minute = [{"user_id": "bot", "at": AT + n * 5_999_999} for n in range(11)]
    slow = [{"user_id": "human", "at": AT + n * 6_000_000} for n in range(11)]
    table = events(*minute, *slow)
    assert counts(table, max_events_per_minute=10) == {"bot": 11}
    assert counts(table, max_events_per_minute=11) == {}
    assert counts(table, max_events_per_day=10) == {"bot": 22}


def test_user_far_above_the_quartiles_is_an_outlier():
    rows = [{"user_id": f"u{n % 20}"} for n in range(200)] + [{"user_id": "many"}] * 50
    assert counts(events(*rows), outlier_min_events=40) == {"outlier": 50}
    assert counts(events(*rows)) == {}


def test_nothing_left_says_why():
    table = events({"item_id": "clip 1"}, {"item_id": "clip 2"}, {"at": -1})
    cleaned = clean(table, ITEMS, DURATIONS, CleanConfig(), now=NOW)
    with pytest.raises(InputError) as raised:
        require_some(cleaned, table, ITEMS)
    assert str(raised.value) == (
        "none of the 3 events can be used (unknown_item 2, bad_time 1): they name items such as "
        "'clip 1', 'clip 2', 'short', the catalogue holds 3 such as 'long', 'odd', 'short'"
    )


def test_empty_in_empty_out():
    cleaned = clean(EVENTS.empty_table(), ITEMS, DURATIONS, CleanConfig(), now=NOW)
    assert len(cleaned.events) == len(cleaned.dropped) == 0
    with pytest.raises(InputError, match="holds no events"):
        require_some(cleaned, EVENTS.empty_table(), ITEMS)


ANY_ROW = st.fixed_dictionaries(
    {
        "event_id": st.one_of(st.none(), st.text(max_size=3)),
        "user_id": st.one_of(st.none(), st.text(max_size=3)),
        "item_id": st.sampled_from([None, "", "short", "long", "odd", "absent"]),
        "kind": st.sampled_from([None, "watch", *EVENT_KINDS]),
        "at": st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(AT, AT + 3)),
        "position_seconds": st.one_of(st.none(), st.floats(allow_nan=True)),
        "value": st.one_of(st.none(), st.floats()),
        "request_id": st.one_of(st.none(), st.text(max_size=3)),
    }
)


@given(rows=st.lists(ANY_ROW, max_size=20))
def test_never_fails_and_cleaning_twice_changes_nothing(rows):
    cleaned = clean(events(*rows), ITEMS, DURATIONS, CleanConfig(), now=NOW)
    assert len(cleaned.events) + sum(cleaned.dropped["rows"].to_pylist()) == len(rows)
    again = clean(cleaned.events, ITEMS, DURATIONS, CleanConfig(), now=NOW)
    assert again.events.equals(cleaned.events)
    positions = cleaned.events["position_seconds"].drop_null().to_numpy()
    assert np.isfinite(positions).all()
    assert cleaned.events["at"].to_pylist() == [
        at
        for at in cleaned.events["at"].to_pylist()
        if at <= datetime.fromtimestamp(NOW / 1e6, UTC)
    ]
