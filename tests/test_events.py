import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.errors import InputError
from avrec.events import EventsConfig, fingerprint, read_events, times
from avrec.schema import EVENTS, conform
from avrec.store import join, place

NOON = 1_748_779_200_000_000  # 2025-06-01T12:00:00Z
RATINGS = {"user_id": "userId", "item_id": "movieId", "at": "timestamp", "value": "rating"}


@pytest.fixture
def config(tmp_path):
    """Write a file and say how to read it."""

    def write(name: str, content: str | bytes, **fields) -> EventsConfig:
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return EventsConfig(uri=str(tmp_path / name), **fields)

    return write


def micros(column: pa.ChunkedArray) -> list[int | None]:
    return column.cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.csv.gz", "ratings.tsv"])
def test_ratings_under_their_own_names(config, name):
    text = "userId,movieId,rating,timestamp\n7,031,4.5,1748779200\n8,31,,1748779201\n"
    text = text.replace(",", "\t") if name.endswith("tsv") else text
    read = read_events(config(name, text, columns=RATINGS, kind="rate"))
    assert read.dropped.num_rows == 0
    events = conform(read.events, EVENTS)
    assert events["user_id"].to_pylist() == ["7", "8"]
    assert events["item_id"].to_pylist() == ["031", "31"]
    assert events["kind"].to_pylist() == ["rate", "rate"]
    assert events["value"].to_pylist() == [4.5, None]
    assert micros(events["at"]) == [NOON, NOON + 1_000_000]


def test_parquet_jsonl_and_csv_read_alike(config, tmp_path):
    rows = [
        {"event_id": "1", "user_id": "ü'\"🎧", "item_id": "a,b", "kind": "play", "at": NOON},
        {"event_id": "2", "user_id": "u", "item_id": "x", "kind": "skip", "at": NOON + 1},
    ]
    for row in rows:
        row["position_seconds"] = 1.5
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "events.parquet")
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = '"' + '"\n"'.join(
        '","'.join(str(cell).replace('"', '""') for cell in cells)
        for cells in [table.column_names, *(row.values() for row in rows)]
    )
    expected = read_events(EventsConfig(uri=str(tmp_path / "events.parquet"))).events
    assert micros(expected["at"]) == [NOON, NOON + 1]
    assert expected["user_id"].to_pylist() == ["ü'\"🎧", "u"]
    assert read_events(config("events.jsonl", lines)).events.equals(expected)
    assert read_events(config("events.csv", text + '"\n')).events.equals(expected)


def test_a_folder_is_all_its_files_in_order_of_name(config, tmp_path):
    for name, user in (("b.csv", "2"), ("a.csv", "1")):
        config(name, f"user_id,item_id,kind,at\n{user},i,play,{NOON}\n")
    config("README.txt", "not events")
    config("empty.csv", "user_id,item_id,kind,at\n")
    read = read_events(EventsConfig(uri=str(tmp_path)))
    assert read.events["user_id"].to_pylist() == ["1", "2"]


def test_reads_from_s3(s3_uri):
    config = EventsConfig(uri=join(s3_uri, "events.csv"))
    place(config.uri).write(f"user_id,item_id,kind,at\nu,i,play,{NOON}\n".encode())
    assert read_events(config).events["user_id"].to_pylist() == ["u"]
    assert fingerprint(config)


def test_lines_that_are_no_events_are_counted(config):
    lines = ['{"user_id": "u", "item_id": 3, "kind": "play", "at": 1748779200}', "{", "7", ""]
    read = read_events(config("events.jsonl", "\n".join(lines)))
    assert read.events["item_id"].to_pylist() == ["3"]
    assert read.dropped.to_pylist() == [{"reason": "malformed", "rows": 2, "example": "{"}]
    text = f"user_id,item_id,kind,at\nu,i,play,{NOON}\nu,i,play\n"
    assert read_events(config("events.csv", text)).dropped["rows"].to_pylist() == [1]


def test_numbers_that_are_none_are_nan(config):
    text = (
        "user_id,item_id,kind,at,position_seconds\nu,i,play,0,7\nu,i,play,0,far\nu,i,play,0,nan\n"
    )
    positions = read_events(config("events.csv", text)).events["position_seconds"].to_pylist()
    np.testing.assert_equal(positions, [7.0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1_748_779_200], NOON),
        ([1_748_779_200.25], NOON + 250_000),
        ([1_748_779_200_000], NOON),
        ([NOON], NOON),
        ([NOON * 1000], NOON),
        (["1748779200"], NOON),
        (["2025-06-01T12:00:00Z"], NOON),
        (["2025-06-01 12:00:00"], NOON),
        (["2025-06-01T14:00:00.5+02:00"], NOON + 500_000),
        (["2025-06-01T10:30:00-0130"], NOON),
        (["2025-06-01"], NOON - 43_200_000_000),
        (["2025-13-01"], None),
        (["yesterday"], None),
        ([float("nan")], None),
        ([None], None),
    ],
)
def test_times(column, expected):
    assert micros(times(pa.chunked_array([column]))) == [expected]


@given(at=st.datetimes(), digits=st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_iso_times_are_what_the_standard_library_says(at, digits):
    text = at.isoformat(timespec=digits)
    expected = pa.array([at.fromisoformat(text)], pa.timestamp("us")).cast(pa.int64())
    assert micros(times(pa.chunked_array([[text]]))) == expected.to_pylist()


def test_timestamps_of_any_unit_and_zone():
    for kind in (pa.timestamp("s"), pa.timestamp("ns", "Europe/Paris"), pa.timestamp("ms", "UTC")):
        column = pa.array([NOON], pa.timestamp("us", "UTC")).cast(kind)
        assert micros(times(pa.chunked_array([column]))) == [NOON]


def test_events_without_ids_are_named_by_their_content(config):
    text = f"user_id,item_id,kind,at\nu,i,play,{NOON}\nv,i,play,{NOON}\nu,i,play,{NOON}\n"
    first, second, third = read_events(config("events.csv", text)).events["event_id"].to_pylist()
    assert first == third != second


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {},
            r"has no column 'user_id' for user_id; it has \['userId', .*user_id = \"one of them\"",
        ),
        ({"columns": RATINGS}, r"has no column 'kind' for kind.*or \[events\] kind"),
        ({"columns": RATINGS | {"value": "stars"}, "kind": "rate"}, "has no column 'stars'"),
    ],
)
def test_missing_column_says_what_to_write(config, fields, message):
    with pytest.raises(InputError, match=message):
        read_events(config("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n", **fields))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.parquet", "PAR1", "cannot read .*events.parquet"),
        ("events.csv", "", "cannot read .*events.csv"),
        ("events.csv", b"user_id,item_id,kind,at\n\xff,i,play,1\n", "events.csv is not UTF-8 text"),
        ("events.txt", "x", r"is none of \.parquet"),
    ],
)
def test_file_that_cannot_be_read(config, name, content, message):
    with pytest.raises(InputError, match=message):
        read_events(config(name, content))


def test_absent_file_empty_folder_and_no_uri(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        read_events(EventsConfig(uri=str(tmp_path / "absent.csv")))
    with pytest.raises(InputError, match=r"holds no \.parquet"):
        read_events(EventsConfig(uri=str(tmp_path)))
    with pytest.raises(InputError, match=r"\[events\] uri"):
        read_events(EventsConfig())


def test_config_refuses_unknown_names():
    with pytest.raises(ValueError, match="got 'user'"):
        EventsConfig(columns={"user": "userId"})
    with pytest.raises(ValueError, match="got 'watch'"):
        EventsConfig(kind="watch")


def test_fingerprint_follows_the_file(config, tmp_path):
    first = config("events.csv", "user_id\n")
    before = fingerprint(first)
    assert fingerprint(first) == before
    config("events.csv", "user_id\nu\n")
    assert fingerprint(first) != before
