import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from avrec.serving.together import Together


class Squares:
    """Squares numbers; the first call waits until it is let go, so that others gather."""

    def __init__(self):
        self.begun, self.go, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.begun.set()
        self.go.wait()
        if any(number < 0 for number in numbers):
            raise ValueError("no negative numbers")
        return [number**2 for number in numbers]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(20) as made:
        yield made


def gathered(pool, work, together, numbers, wait_until):
    """Ask for the first number, and while that is worked on for the others."""
    asked = [pool.submit(together, numbers[0])]
    work.begun.wait()
    asked += [pool.submit(together, number) for number in numbers[1:]]
    wait_until(lambda: len(together._waiting) == len(numbers) - 1)
    work.go.set()
    return asked


def test_who_asks_meanwhile_is_served_together_at_most_so_many(pool, wait_until):
    work = Squares()
    together = Together(work, 4, (ValueError,))
    asked = gathered(pool, work, together, list(range(11)), wait_until)
    assert [one.result() for one in asked] == [n**2 for n in range(11)]
    assert [len(batch) for batch in work.batches] == [1, 4, 4, 2]
    assert together(7) == 49


def test_a_job_that_fails_fails_alone(pool, wait_until):
    work = Squares()
    together = Together(work, 8, (ValueError,))
    asked = gathered(pool, work, together, [1, 2, -3, 4], wait_until)
    assert [asked[n].result() for n in (0, 1, 3)] == [1, 4, 16]
    with pytest.raises(ValueError, match="no negative"):
        asked[2].result()
    assert together(5) == 25


def test_what_nobody_foresaw_is_told_to_one_and_the_others_are_served(pool, wait_until):
    work = Squares()
    together = Together(work, 8, (OSError,))
    asked = gathered(pool, work, together, [1, 2, 3, 4], wait_until)
    assert [one.result() for one in asked] == [1, 4, 9, 16]
    work.go.clear()
    work.begun.clear()
    asked = gathered(pool, work, together, [1, 2, -3, 4], wait_until)
    failed = [one for one in asked if one.exception()]
    assert 1 <= len(failed) <= 2
    assert all(isinstance(one.exception(), ValueError) for one in failed)
    assert together(6) == 36
