"""The extraction on real Ray actors, by producers of a few lines and tiny sounds."""

import hashlib
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from avrec.distributed.clips import children_cpu_seconds, receive, send
from avrec.distributed.extract import CONTENTS, Extraction, Pool, extract
from avrec.distributed.producers import TEXT, Planned, keyed
from avrec.errors import InputError
from avrec.ledger import Failure
from avrec.media.decode import Clip
from avrec.media.limits import Limits
from avrec.media.sampling import Plan, Span
from avrec.media.sandbox import Sandbox
from avrec.store import place
from tests.media.clips import tone, write_clip, write_sound

LENGTHS = pa.schema([pa.field("samples", pa.int64()), pa.field("frames", pa.int64())])
PLAN = Plan(segment_seconds=1, frames_per_segment=2)


class Lengths:
    """Tells how much of a clip it was shown, and notes that it was asked."""

    on_gpu = False

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def produce(self, contents) -> pa.Table:
        rows = [self._row(sha256, content) for sha256, content in contents]
        return pa.Table.from_pylist(rows, schema=keyed(LENGTHS))

    def _row(self, sha256, content) -> dict:
        with (self.notes / sha256).open("a") as out:
            out.write("x")
        if isinstance(content, str):
            return {"sha256": sha256, "samples": len(content), "frames": 0}
        return {"sha256": sha256, "samples": len(content.waveform), "frames": len(content.frames)}


class Spoilt(Lengths):
    """Cannot take a clip of two seconds."""

    def _row(self, sha256, content) -> dict:
        row = super()._row(sha256, content)
        if row["samples"] == 32000:
            self.spoil()
        return row

    def spoil(self) -> None:
        raise ValueError("two seconds are too many")


class Deadly(Spoilt):
    """Ends its process at a clip of two seconds."""

    def spoil(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Broken(Lengths):
    def _row(self, sha256, content) -> dict:
        raise RuntimeError("no device")


def planned(kind, notes, key="lengths@1", **more) -> Planned:
    made = {"plan_key": PLAN.key, "sees": "clip"} | more
    (notes / key).mkdir(exist_ok=True)
    return Planned(key=key, schema=LENGTHS, load=partial(kind, notes / key), **made)


def asked(notes: Path, key="lengths@1") -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in (notes / key).iterdir()}


def extraction(root: Path | str, *producers, **more) -> Extraction:
    pools = {"": Pool(1, 1.0, 0.0), "other": Pool(1, 1.0, 0.0)}
    made = {"files_per_block": 2, "num_decoders": 2, "pools": pools} | more
    return Extraction(
        root=place(str(root)), plan=PLAN, limits=Limits(), producers=producers, **made
    )


def contents_of(*paths: Path, texts=()) -> pa.Table:
    rows = [
        {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "uri": str(path)}
        for path in paths
    ]
    rows += [{"sha256": hashlib.sha256(t.encode()).hexdigest(), "text": t} for t in texts]
    return pa.Table.from_pylist(rows, schema=CONTENTS)


def found(producer: Planned, root: Path | str) -> dict[str, int]:
    tables = producer.ledger(place(str(root))).tables()
    return {row["sha256"]: row["samples"] for table in tables for row in table.to_pylist()}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Five sounds of 1 to 5 seconds."""
    root = tmp_path_factory.mktemp("sounds")
    return [write_sound(root / f"{n}.wav", tone(n)) for n in range(1, 6)]


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def seconds_of(contents) -> dict[str, int]:
    keys = contents["sha256"].to_pylist()
    return {key: 16000 * n for n, key in enumerate(keys, start=1)}


def test_everything_is_shown_once_and_a_rerun_shows_only_what_is_missing(
    local_ray, sounds, notes, tmp_path
):
    contents = contents_of(*sounds)
    one = planned(Lengths, notes)
    extract(contents.slice(0, 2), extraction(tmp_path, one))
    report = extract(contents, extraction(tmp_path, one))
    assert found(one, tmp_path) == seconds_of(contents)
    assert set(asked(notes).values()) == {1}
    assert report.stages["decode"]["files"] == 3
    assert extract(contents, extraction(tmp_path, one)).stages == {}


def test_the_workspace_may_be_on_s3(local_ray, sounds, notes, s3_uri):
    contents = contents_of(*sounds)
    one = planned(Lengths, notes)
    extract(contents.slice(0, 2), extraction(s3_uri, one))
    extract(contents, extraction(s3_uri, one))
    assert found(one, s3_uri) == seconds_of(contents)
    assert set(asked(notes).values()) == {1}


def test_a_new_producer_sees_all_and_the_others_nothing_again(local_ray, sounds, notes, tmp_path):
    contents = contents_of(*sounds)
    old, new = planned(Lengths, notes), planned(Lengths, notes, "lengths@2")
    extract(contents, extraction(tmp_path, old))
    extract(contents, extraction(tmp_path, old, new))
    assert found(new, tmp_path) == found(old, tmp_path)
    assert set(asked(notes).values()) == set(asked(notes, "lengths@2").values()) == {1}


def test_a_pool_of_its_own_gets_clips_and_texts_and_nothing_is_decoded_twice(
    local_ray, sounds, notes, tmp_path
):
    contents = contents_of(*sounds, texts=["four", "sixsix"])
    here = planned(Lengths, notes)
    there = planned(Lengths, notes, "lengths@2", pool="other")
    words = planned(Lengths, notes, "words@1", pool="other", plan_key=TEXT, sees="text")
    report = extract(contents, extraction(tmp_path, here, there, words))
    assert found(there, tmp_path) == found(here, tmp_path) == seconds_of(contents.slice(0, 5))
    assert sorted(found(words, tmp_path).values()) == [4, 6]
    assert report.stages["decode"]["files"] == 5
    assert report.stages["decode"]["cpu_seconds"] > 0
    assert report.lane_share("pool other") > 0


def test_a_content_that_a_producer_cannot_take_is_a_failure_of_that_producer(
    local_ray, sounds, notes, tmp_path
):
    contents = contents_of(*sounds)
    good, bad = planned(Lengths, notes), planned(Spoilt, notes, "spoilt@1")
    report = extract(contents, extraction(tmp_path, good, bad))
    assert found(good, tmp_path) == seconds_of(contents)
    assert len(found(bad, tmp_path)) == 4
    told = Failure(**bad.ledger(place(str(tmp_path))).failures().to_pylist()[0])
    assert told[1:] == ("spoilt@1", "crashed", "ValueError: two seconds are too many")
    assert report.errors == {"crashed": 1}


@pytest.mark.parametrize("pool", ["", "other"])
def test_a_content_that_ends_its_worker_each_time_does_not_end_the_run(
    local_ray, sounds, notes, tmp_path, pool
):
    contents = contents_of(*sounds)
    deadly = planned(Deadly, notes, pool=pool)
    extract(contents, extraction(tmp_path, deadly))
    victim = contents["sha256"][1].as_py()
    assert found(deadly, tmp_path).keys() == set(contents["sha256"].to_pylist()) - {victim}
    (failure,) = deadly.ledger(place(str(tmp_path))).failures().to_pylist()
    assert (failure["sha256"], failure["kind"]) == (victim, "crashed")
    assert asked(notes)[victim] == 3  # with others once, and alone twice


def test_what_cannot_be_decoded_fails_for_all_producers_by_its_kind(local_ray, notes, tmp_path):
    (tmp_path / "page.mp4").write_bytes(b"<html>")
    contents = contents_of(tmp_path / "page.mp4")
    gone = contents.append_column("x", pa.array([0])).drop_columns("x")
    gone = gone.set_column(1, "uri", pa.array([str(tmp_path / "gone.mp4")]))
    gone = gone.set_column(0, "sha256", pa.array(["0" * 64]))
    here, there = planned(Lengths, notes), planned(Lengths, notes, "lengths@2", pool="other")
    how = extraction(tmp_path, here, there)
    extract(pa.concat_tables([contents, gone]), how)
    for one in (here, there):
        kinds = one.ledger(place(str(tmp_path))).failures()["kind"].to_pylist()
        assert sorted(kinds) == ["fetch_failed", "not_media"]
    assert len(here.ledger(place(str(tmp_path))).finished()) == 1


def test_a_producer_that_fails_on_everything_ends_the_run_with_its_reason(
    local_ray, sounds, notes, tmp_path
):
    broken = planned(Broken, notes)
    with pytest.raises(InputError, match=r"lengths@1 failed .*RuntimeError: no device"):
        extract(contents_of(*sounds), extraction(tmp_path, broken))


def test_a_clip_is_the_same_behind_the_object_store():
    clip = Clip(
        duration_seconds=2.5,
        frames=np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3),
        frame_seconds=np.array([0.5, 1.5]),
        waveform=np.linspace(-1, 1, 7, dtype=np.float32),
        spans=(Span(0.0, 1.25), Span(1.25, 2.5)),
    )
    again = receive(send(clip, frames=True, sound=True))
    for name in ("frames", "frame_seconds", "waveform"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    assert (again.spans, again.duration_seconds) == (clip.spans, clip.duration_seconds)
    less = receive(send(clip, frames=False, sound=False))
    assert (len(less.frames), len(less.frame_seconds), len(less.waveform)) == (0, 0, 0)


def test_children_are_counted_dead_or_alive(tmp_path):
    before = children_cpu_seconds()
    with Sandbox(Limits()) as sandbox:
        sandbox.decode(write_clip(tmp_path / "clip.mp4"), PLAN)
        alive = children_cpu_seconds()
    assert before < alive <= children_cpu_seconds() + 0.02
