"""Inputs through a model some at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed.batches import Batches
from avrec.errors import InputError


class Budget:
    """A model that sums its inputs and holds no more than so many padded numbers at once."""

    def __init__(self, numbers, error=None):
        self.numbers, self.tried = numbers, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")

    def __call__(self, batch):
        self.tried.append([len(one) for one in batch])
        if len(batch) * max(map(len, batch)) > self.numbers:
            raise self.error
        return np.array([[sum(one)] for one in batch], np.float32)


texts = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=30)


@given(texts, st.integers(1, 40), st.integers(8, 100))
def test_neither_the_batch_size_nor_the_memory_changes_a_vector(inputs, size, numbers):
    vectors = Batches(size).vectors(inputs, Budget(numbers), 1, len)
    np.testing.assert_array_equal(vectors[:, 0], [sum(one) for one in inputs])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_what_does_not_fit_is_halved_and_remembered(error):
    model, batches = Budget(12, error), Batches(16)
    batches.vectors([[1, 2, 3]] * 16, model, 1, len)
    assert [len(batch) for batch in model.tried] == [16, 8, 4, 4, 4, 4]
    model.tried.clear()
    batches.vectors([[1, 2, 3]] * 8, model, 1, len)
    assert [len(batch) for batch in model.tried] == [4, 4]


def test_like_lengths_go_together_the_longest_first():
    model = Budget(100)
    Batches(2).vectors([[1], [1] * 5, [], [1] * 2, [1] * 6], model, 1, len)
    assert model.tried == [[6, 5], [2, 1]]


def test_one_input_that_does_not_fit_is_said_so():
    with pytest.raises(InputError, match="one input does not fit into memory"):
        Batches(4).vectors([[1] * 9] * 4, Budget(8), 1, len)


def test_other_errors_of_a_model_are_not_retried():
    model = Budget(0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        Batches(4).vectors([[1]] * 4, model, 1, len)
    assert len(model.tried) == 1
