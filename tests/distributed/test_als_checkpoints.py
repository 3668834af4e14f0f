from pathlib import Path

import numpy as np
import pytest

from avrec.distributed.als_checkpoints import KEPT, Checkpoints
from avrec.models.als import ALSConfig, Epoch
from avrec.models.als_fit import split
from avrec.store import place
from tests.models.test_als import world
from tests.models.test_als_fit import together

CONFIG, WEIGHTS = ALSConfig(dim=3), world()
USERS, ITEMS = (np.arange(3 * n, dtype=np.float32).reshape(n, 3) for n in WEIGHTS.shape)


def checkpoints(folder, group):
    return Checkpoints(place(str(folder)), split(WEIGHTS, CONFIG, group), group)


def save(folder, size, numbers):
    """Save epochs on some workers; the rows of epoch n are n times those of the first."""

    def work(group):
        to = checkpoints(folder, group)
        users, items = to.parts
        for n in numbers:
            mine = USERS[users.start : users.stop] * n, ITEMS[items.start : items.stop] * n
            to.save(Epoch(n, mine[1], 0.5, mine[0]))
            group.total(np.zeros(1, int))
        to.flush()

    together(size, work)


def latest(folder, size):
    """Whole factors of both sides as some workers read them, and the epochs that they see."""
    epochs = together(size, lambda group: checkpoints(folder, group).latest(3))
    if None in epochs:
        return None, {epoch and epoch.number for epoch in epochs}
    sides = [np.concatenate([getattr(e, side) for e in epochs]) for side in ("users", "items")]
    return sides, {epoch.number for epoch in epochs}


@pytest.mark.parametrize(("written_by", "read_by"), [(1, 1), (2, 2), (2, 3), (3, 1)])
def test_any_number_of_workers_goes_on_from_the_last_epoch(tmp_path, written_by, read_by):
    save(tmp_path, written_by, range(1, 6))
    sides, numbers = latest(tmp_path, read_by)
    assert numbers == {5}
    np.testing.assert_array_equal(sides[0], USERS * 5)
    np.testing.assert_array_equal(sides[1], ITEMS * 5)
    assert len(list(Path(tmp_path).iterdir())) == KEPT * written_by


def test_an_epoch_that_lacks_a_file_is_not_saved(tmp_path):
    save(tmp_path, 2, [1, 2])
    (tmp_path / "00002-00001-of-00002.safetensors").unlink()
    (tmp_path / ".00002-00001-of-00002.safetensors.half").touch()
    assert latest(tmp_path, 2)[1] == {1}


def test_nothing_saved_is_a_first_start(tmp_path):
    assert latest(tmp_path / "new", 2) == (None, {None})


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    def work(group):
        to = checkpoints(tmp_path / "gone", group)
        (tmp_path / "gone").rmdir()
        (tmp_path / "gone").touch()
        to.save(Epoch(1, ITEMS, 0.5, USERS))
        with pytest.raises(OSError, match="gone"):
            to.flush()

    together(1, work)
