from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.errors import SchemaError
from avrec.schema import DESCRIPTIONS, EVENTS, INTERACTIONS, ITEMS, conform, empty

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def interactions(**columns) -> pa.Table:
    rows = {"user_id": ["u"], "item_id": ["i"], "weight": [1.0], "at": [NOON]}
    return pa.table(rows | columns)


def test_puts_columns_in_order_and_casts():
    table = interactions(more=["x"]).select(["at", "more", "weight", "item_id", "user_id"])
    checked = conform(table, INTERACTIONS)
    assert checked.schema == INTERACTIONS
    row = {"user_id": "u", "item_id": "i", "weight": 1.0, "at": NOON, "kind": None, "share": None}
    assert checked.to_pylist() == [row]


def test_fills_a_missing_nullable_column():
    checked = conform(pa.table({"item_id": ["i"], "title": ["t"]}), ITEMS)
    assert checked.schema == ITEMS
    assert checked["tags"].to_pylist() == [None]


def test_reasons_survive_a_parquet_file():
    row = {"item_id": "i", "producer": "p@1", "reasons": [("summary", "model_silent: no words")]}
    table = conform(pa.Table.from_pylist([row], DESCRIPTIONS), DESCRIPTIONS)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    read = conform(pq.read_table(pa.BufferReader(sink.getvalue())), DESCRIPTIONS)
    assert dict(read["reasons"].to_pylist()[0]) == dict(row["reasons"])


def test_conforming_twice_changes_nothing():
    once = conform(interactions(), INTERACTIONS)
    assert conform(once, INTERACTIONS).equals(once)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weight": ["heavy"]}, "'weight' is string, expected float"),
        ({"user_id": pa.nulls(1, pa.string())}, "'user_id' has 1 nulls"),
        ({"at": [[1]]}, "'at' is list.*, expected timestamp"),
    ],
)
def test_says_which_column_is_wrong(columns, message):
    with pytest.raises(SchemaError, match=message):
        conform(interactions(**columns), INTERACTIONS)


def test_names_every_missing_column():
    with pytest.raises(SchemaError, match=r"no column 'item_id'.*no column 'at'"):
        conform(interactions().select(["user_id", "weight"]), INTERACTIONS)


def test_refuses_a_column_that_is_there_twice():
    twice = interactions().append_column("at", pa.array([NOON]))
    with pytest.raises(SchemaError, match="'at' is there more than once"):
        conform(twice, INTERACTIONS)


def test_empty_has_no_rows():
    assert empty(EVENTS).num_rows == 0
    assert conform(empty(EVENTS), EVENTS).schema == EVENTS
