import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from avrec.models import als_torch
from avrec.models.als_kernels import solve_cg, solve_exact
from avrec.models.als_torch import Known, batches
from tests.models.test_als_kernels import OFFSETS, SHAPES, ridge, warm

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
FLOATS = st.sampled_from([1, 2000, 1 << 20])


def on(device, problem):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    arrays = (torch.from_numpy(array).to(device) for array in problem[1:4])
    return Known(*arrays, problem.offset), torch.from_numpy(warm(problem)).to(device)


@DEVICES
@OFFSETS
@given(st.integers(0, 99), SHAPES, FLOATS)
@settings(max_examples=15)
def test_exact_is_that_of_the_cpu(device, offset, seed, shape, floats):
    problem = ridge(seed, shape, offset)
    known, solved = on(device, problem)
    rows = batches(problem.pull, problem.dim, solved.device, floats)
    als_torch.solve_exact(rows, known, solved, floats=floats)
    np.testing.assert_allclose(solved.cpu(), solve_exact(problem), rtol=2e-3, atol=2e-4)


@DEVICES
@OFFSETS
@given(st.integers(0, 99), SHAPES, FLOATS)
@settings(max_examples=15)
def test_cg_is_that_of_the_cpu(device, offset, seed, shape, floats):
    problem = ridge(seed, shape, offset)
    known, solved = on(device, problem)
    als_torch.solve_cg(batches(problem.pull, problem.dim, solved.device, floats), known, solved)
    expected = warm(problem)
    solve_cg(problem, expected)
    np.testing.assert_allclose(solved.cpu(), expected, rtol=5e-3, atol=5e-4)


@given(st.integers(0, 99), SHAPES, FLOATS)
@settings(max_examples=15)
def test_every_row_with_entries_is_in_one_batch(seed, shape, floats):
    pull = ridge(seed, shape).pull
    made = batches(pull, shape[2], torch.device("cpu"), floats)
    rows = np.concatenate([np.empty(0, np.int64), *(batch.rows.numpy() for batch in made)])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(np.diff(pull.indptr)))
    for batch in made:
        assert batch.columns.shape[1] <= max(als_torch.GROWTH * batch.lengths.min() + 8, 8)


def test_no_rows():
    empty = csr_array((3, 4), dtype=np.float32)
    solved, known = torch.ones(3, 8), Known(torch.ones(4, 8), torch.eye(8), torch.ones(3), 1)
    als_torch.solve_cg(batches(empty, 8, torch.device("cpu")), known, solved)
    assert not solved.any()
