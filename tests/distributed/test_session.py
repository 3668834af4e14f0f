import pytest
import ray.data

from avrec.distributed.session import fault_of_input
from avrec.errors import InputError


def full_disk(_):
    raise OSError(28, "No space left on device", "part-0")


def empty_folder(_):
    raise InputError("no media in clips")


def mistake(_):
    raise KeyError("ours")


def test_an_error_of_ours_is_its_first_line():
    assert fault_of_input(InputError("no media in clips\nmore")) == "no media in clips"
    assert fault_of_input(KeyError("ours")) is None


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (full_disk, "[Errno 28] No space left on device: 'part-0'"),
        (empty_folder, "no media in clips"),
        (mistake, None),
    ],
)
def test_a_worker_s_error_is_said_as_what_began_it(local_ray, task, said):
    with pytest.raises(ray.exceptions.RayError) as from_data:
        ray.data.range(1).map_batches(task).materialize()
    assert fault_of_input(from_data.value) == said
    with pytest.raises(ray.exceptions.RayError) as from_task:
        ray.get(ray.remote(task).remote(None))
    assert fault_of_input(from_task.value) == said
