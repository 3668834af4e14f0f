import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from avrec.serving.lane import PATIENCE_SECONDS, Lane
from tests.test_recommend import Clock


class Notes:
    """Notes jobs; each of the first calls waits until it is let go."""

    def __init__(self, *held):
        self.held = list(held)
        self.batches, self.begun = [], threading.Semaphore(0)

    def __call__(self, jobs):
        self.batches.append(list(jobs))
        door = self.held.pop(0) if self.held else None
        self.begun.release()
        assert door is None or door.wait(20)
        if "wrong" in jobs:
            raise ValueError


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as made:
        yield made


def test_what_comes_meanwhile_is_done_together_at_most_so_many(threads, wait_until):
    door = threading.Event()
    notes = Notes(door)
    lane = Lane(notes, 3, threads)
    lane.add(0)
    assert notes.begun.acquire(timeout=20)
    for job in range(1, 6):
        lane.add(job)
    door.set()
    wait_until(lambda: sum(map(len, notes.batches)) == 6)
    assert notes.batches == [[0], [1, 2, 3], [4, 5]]


def test_a_thread_that_hangs_holds_nobody_up_for_long(threads, wait_until):
    door, clock = threading.Event(), Clock()
    notes = Notes(door)
    lane = Lane(notes, 8, threads, clock)
    lane.add("hangs")
    assert notes.begun.acquire(timeout=20)
    lane.add("waits")
    clock.now += 2 * PATIENCE_SECONDS
    lane.add("comes")
    wait_until(lambda: len(notes.batches) == 2)
    assert notes.batches[1] == ["waits", "comes"]
    door.set()
    lane.add("later")
    wait_until(lambda: notes.batches[-1] == ["later"])


def test_work_that_fails_does_not_end_the_lane(threads, wait_until):
    door = threading.Event()
    notes = Notes(door)
    lane = Lane(notes, 1, threads)
    lane.add("wrong")
    assert notes.begun.acquire(timeout=20)
    lane.add("waits")
    door.set()
    wait_until(lambda: ["waits"] in notes.batches)
