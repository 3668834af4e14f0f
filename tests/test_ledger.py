import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrec.ledger import Failure, Ledger, forget, held
from avrec.store import place

SCHEMA = pa.schema([pa.field("start_seconds", pa.float64()), pa.field("label", pa.string())])
KINDS = ("not_media", "truncated", "timeout", "crashed", "fetch_failed")


def ledger(root, producer="tags@1", plan_key="uniform-10s"):
    return Ledger(place(str(root)), producer, plan_key, SCHEMA)


def rows_of(content: str, num_rows: int) -> pa.Table:
    """Row `i` of a content starts at second `i`."""
    starts = [float(i) for i in range(num_rows)]
    columns = {"sha256": [content] * num_rows, "label": [f"{content}-{i}" for i in range(num_rows)]}
    schema = pa.schema([pa.field("sha256", pa.string()), *SCHEMA])
    return pa.Table.from_pydict(columns | {"start_seconds": starts}, schema=schema)


def write(to: Ledger, outcomes: dict[str, int | str]) -> None:
    """Write contents, each with so many rows or with a kind of failure."""
    counts = {content: one for content, one in outcomes.items() if isinstance(one, int)}
    tables = [rows_of(content, count) for content, count in counts.items()]
    failures = [
        Failure(content, "decode", kind, f"{content} is {kind}")
        for content, kind in outcomes.items()
        if isinstance(kind, str)
    ]
    to.write(pa.concat_tables([rows_of("", 0), *tables]), counts, failures)


def read(of: Ledger) -> list[dict]:
    tables = [table.to_pylist() for table in of.tables()]
    return sorted(
        (row for table in tables for row in table),
        key=lambda row: (row["sha256"], row["start_seconds"]),
    )


def expected_rows(outcomes):
    counts = {content: one for content, one in outcomes.items() if isinstance(one, int)}
    return [row for key in sorted(counts) for row in rows_of(key, counts[key]).to_pylist()]


OUTCOMES = st.dictionaries(
    st.text("abc", min_size=1, max_size=2), st.integers(0, 3) | st.sampled_from(KINDS)
)


def test_reads_back_results_failures_and_what_is_finished(root_uri):
    work = ledger(root_uri)
    write(work, {"a": 2, "b": 0, "c": "not_media", "d": "timeout"})
    assert read(work) == expected_rows({"a": 2})
    assert work.finished() == {"a", "b", "c"}
    assert work.failures().to_pylist() == [
        {"sha256": "c", "stage": "decode", "kind": "not_media", "message": "c is not_media"},
        {"sha256": "d", "stage": "decode", "kind": "timeout", "message": "d is timeout"},
    ]


def test_of_nothing_is_nothing(root_uri):
    work = ledger(root_uri)
    write(work, {})
    assert work.finished() == set()
    assert read(work) == []
    assert len(work.failures()) == 0
    assert work.compact() == 0
    assert held(work.root) == []
    forget(work.root, "tags@1")


@settings(max_examples=20)
@given(OUTCOMES, st.data())
def test_order_repetition_and_partition_do_not_matter(tmp_path_factory, outcomes, data):
    work = ledger(tmp_path_factory.mktemp("ledger"))
    for _ in range(data.draw(st.integers(0, 2))):
        for content in data.draw(st.permutations(sorted(outcomes))):
            write(work, {content: outcomes[content]})
    write(work, outcomes)
    if data.draw(st.booleans()):
        work.compact(min_merged=2)
    failed = {content: kind for content, kind in outcomes.items() if isinstance(kind, str)}
    assert read(work) == expected_rows(outcomes)
    assert work.failures()["sha256"].to_pylist() == sorted(failed)
    assert outcomes.keys() - work.finished() == {
        content for content, kind in failed.items() if kind in KINDS[2:]
    }


@given(st.permutations([{"a": 2}, {"a": "crashed"}, {"a": "not_media"}]))
def test_a_result_counts_before_failures_whatever_came_last(tmp_path_factory, writes):
    work = ledger(tmp_path_factory.mktemp("ledger"))
    for outcomes in writes:
        write(work, outcomes)
    assert read(work) == expected_rows({"a": 2})
    assert len(work.failures()) == 0
    assert work.finished() == {"a"}


def test_the_same_work_writes_the_same_part(root_uri):
    work = ledger(root_uri)
    write(work, {"a": 1, "b": 2, "c": "crashed"})
    before = held(work.root)
    write(work, {"b": 2, "c": "crashed", "a": 1})
    assert held(work.root) == before
    assert before[0].num_parts == 1


def test_compacting_leaves_one_part_and_every_row(root_uri):
    work = ledger(root_uri)
    outcomes = {"a": 2, "b": 0, "c": "truncated", "d": "timeout"}
    for content, outcome in outcomes.items():
        write(work, {content: outcome})
    assert work.compact(min_merged=5) == 0
    assert work.compact(min_merged=4) == 4
    assert held(work.root)[0].num_parts == 1
    assert read(work) == expected_rows({"a": 2})
    assert work.finished() == {"a", "b", "c"}
    assert work.failures()["kind"].to_pylist() == ["truncated", "timeout"]


def test_a_part_cut_short_is_left_out_aloud_and_its_work_is_done_again(tmp_path, caplog):
    work = ledger(tmp_path)
    write(work, {"a": 1})
    write(work, {"b": 1})
    part = sorted(tmp_path.rglob("part-*"))[0]
    part.write_bytes(part.read_bytes()[:-9])
    assert len(work.finished()) == 1
    assert read(work) == expected_rows(dict.fromkeys(work.finished(), 1))
    assert "left out of the ledger" in caplog.text


def test_a_file_half_written_by_a_killed_worker_is_no_part(tmp_path):
    work = ledger(tmp_path)
    write(work, {"a": 1})
    part = next(tmp_path.rglob("part-*"))
    part.with_name(f".{part.name}.0badcafe").write_bytes(b"PAR1")
    assert work.finished() == {"a"}
    assert read(work) == expected_rows({"a": 1})


def test_producers_and_plans_are_apart_whatever_their_names(root_uri):
    one, two = ledger(root_uri, "org/model@1"), ledger(root_uri, "org/model@2")
    other = ledger(root_uri, "org/model@1", "scenes 8/s")
    write(one, {"a": 1})
    write(other, {"b": 1})
    assert (one.finished(), two.finished(), other.finished()) == ({"a"}, set(), {"b"})
    assert [(h.producer, h.plan_key) for h in held(one.root)] == [
        ("org/model@1", "scenes 8/s"),
        ("org/model@1", "uniform-10s"),
    ]
    forget(one.root, "org/model@1")
    assert held(one.root) == []


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    work = ledger(tmp_path)
    write(work, {"a": 1})

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("avrec.store.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(work, {"b": 1})
    assert work.finished() == {"a"}
