"""Whatever is killed in the middle, the rerun does what is missing, once, and nothing is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avrec.distributed.extract import extract
from avrec.store import place
from tests.distributed.kills import DiesOnce
from tests.distributed.test_extract import (
    Lengths,
    asked,
    contents_of,
    extraction,
    found,
    planned,
    seconds_of,
)
from tests.media.clips import tone, write_sound

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path):
    """A folder for notes, one for the ledger, and five sounds of 1 to 5 seconds."""
    for name in ("notes", "root", "sounds"):
        (tmp_path / name).mkdir()
    files = [write_sound(tmp_path / "sounds" / f"{n}.wav", tone(n)) for n in range(1, 6)]
    return tmp_path / "notes", tmp_path / "root", files


def start(kind, notes, root, files, **environ):
    command = [sys.executable, "-m", "tests.distributed.kills", kind, notes, root, *files]
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=os.environ | environ)


def test_a_killed_driver_leaves_what_was_finished(local_ray, world, wait_until):
    notes, root, files = world
    contents, lengths = contents_of(*files), planned(Lengths, notes)
    address = local_ray.get_runtime_context().gcs_address
    driver = start("driver", notes, root, files, RAY_ADDRESS=address)
    ledger = lengths.ledger(place(str(root)))
    wait_until(lambda: len(ledger.finished()) == 2 or driver.poll() is not None)
    driver.kill()
    assert driver.wait() < 0
    report = extract(contents, extraction(root, lengths, files_per_block=1))
    assert found(lengths, root) == seconds_of(contents)
    assert report.stages["decode"]["files"] == 3
    assert set(asked(notes).values()) == {1}


def test_a_killed_worker_costs_its_block_and_nothing_else(local_ray, world):
    notes, root, files = world
    contents, once = contents_of(*files), planned(DiesOnce, notes)
    report = extract(contents, extraction(root, once))
    assert found(once, root) == seconds_of(contents)
    assert len(once.ledger(place(str(root))).failures()) == 0
    assert sorted(asked(notes).values())[-1] == 2
    assert sum(asked(notes).values()) <= len(files) + 2
    assert not report.errors


@pytest.mark.ray
def test_a_removed_node_loses_nothing(world):
    notes, root, files = world
    driver = start("node", notes, root, files, RAY_ADDRESS="", RAY_AUTH_MODE="disabled")
    try:
        assert driver.wait(240) == 0
    finally:
        driver.kill()
        driver.wait()
    contents = contents_of(*files)
    lengths = planned(Lengths, notes)
    assert found(lengths, root) == seconds_of(contents)
    assert len(lengths.ledger(place(str(root))).failures()) == 0
    assert (notes / "begun").exists()
