import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from avrec.models import als_kernels
from avrec.models.als_kernels import Ridge, gram, solve_blocks, solve_cg, solve_exact

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(1, 70))
OFFSETS = pytest.mark.parametrize("offset", [0, 1], ids=["every pair", "observed apart"])


def ridge(seed=0, shape=(20, 40, 24), offset=1, density=0.3):
    """A problem whose row 0 is empty and whose last row names every column."""
    rng = np.random.default_rng(seed)
    num_rows, num_columns, dim = shape
    pull = random_array((num_rows, num_columns), density=density, rng=rng).toarray() * 10
    pull[-1], pull[0] = 2, 0
    fixed = rng.standard_normal((num_columns, dim)).astype(np.float32)
    reg = rng.uniform(1, 3, num_rows).astype(np.float32)
    return Ridge(csr_array(pull.astype(np.float32)), fixed, fixed.T @ fixed, reg, offset)


def equations(problem):
    """Matrix and right side of each row, in float64."""
    V, pull = problem.fixed.astype(np.float64), problem.pull.toarray().astype(np.float64)
    curve = (pull - problem.offset) * (pull != 0)
    matrix = np.einsum("rc,ci,cj->rij", curve, V, V) + problem.gram
    return matrix + problem.reg[:, None, None] * np.eye(problem.dim), pull @ V


def textbook(problem):
    matrix, target = equations(problem)
    return np.linalg.solve(matrix, target[:, :, None])[:, :, 0]


def conjugate_gradients(problem, start, steps):
    matrix, target = equations(problem)
    x = start * (np.diff(problem.pull.indptr) > 0)[:, None]
    r = target - np.einsum("rij,rj->ri", matrix, x)
    p = r.copy()
    for _ in range(steps):
        moved, length = np.einsum("rij,rj->ri", matrix, p), (r * r).sum(axis=1, keepdims=True)
        rate = length / np.maximum((p * moved).sum(axis=1, keepdims=True), 1e-300)
        x, r = x + rate * p, r - rate * moved
        p = r + (r * r).sum(axis=1, keepdims=True) / np.maximum(length, 1e-300) * p
    return x * (np.diff(problem.pull.indptr) > 0)[:, None]


def warm(problem):
    rng = np.random.default_rng(1)
    return rng.normal(0, 0.1, (problem.pull.shape[0], problem.dim)).astype(np.float32)


def of_cg(problem, start=None, threads=1):
    solved = warm(problem) if start is None else start.copy()
    solve_cg(problem, solved, threads=threads)
    return solved


def of_blocks(problem, start=None, threads=1):
    solved = warm(problem) if start is None else start.copy()
    solve_blocks(problem, solved, block=16, sweeps=2, threads=threads)
    return solved


def of_exact(problem, start=None, threads=1):
    return solve_exact(problem, threads=threads)


SOLVERS = pytest.mark.parametrize("solve", [of_cg, of_exact, of_blocks])


@OFFSETS
@given(st.integers(0, 99), SHAPES)
@example(0, (3, 300, 40))
@settings(max_examples=25)
def test_exact_is_the_textbook_solution(offset, seed, shape):
    problem = ridge(seed, shape, offset)
    solved = solve_exact(problem)
    np.testing.assert_allclose(solved, textbook(problem), rtol=2e-3, atol=2e-4)
    matrix, target = equations(problem)
    residual = np.einsum("rij,rj->ri", matrix, solved) - target
    assert np.linalg.norm(residual) <= 1e-4 * np.linalg.norm(target) + 1e-6


@OFFSETS
@given(st.integers(0, 99), SHAPES)
@example(0, (3, 300, 40))
@settings(max_examples=25)
def test_cg_takes_the_textbook_steps(offset, seed, shape):
    problem = ridge(seed, shape, offset)
    expected = conjugate_gradients(problem, warm(problem).astype(np.float64), 3)
    np.testing.assert_allclose(of_cg(problem), expected, rtol=5e-3, atol=5e-4)


@OFFSETS
@given(st.integers(0, 99), SHAPES)
@settings(max_examples=15)
def test_blocks_come_to_the_exact_solution(offset, seed, shape):
    problem = ridge(seed, shape, offset)
    solved = warm(problem)
    solve_blocks(problem, solved, block=64, sweeps=200)
    np.testing.assert_allclose(solved, textbook(problem), rtol=2e-2, atol=2e-2)


def test_one_block_is_exact_at_once():
    problem = ridge(shape=(20, 200, 70))
    solved = warm(problem)
    solve_blocks(problem, solved, block=128)
    np.testing.assert_allclose(solved, solve_exact(problem), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dim", [8, 24, 64])
def test_rows_too_long_to_keep_come_out_the_same(dim, monkeypatch):
    problem = ridge(shape=(6, 500, dim), density=0.5)
    kept = of_cg(problem)
    monkeypatch.setattr(als_kernels, "CACHED_FLOATS", 16)
    np.testing.assert_allclose(of_cg(problem), kept, rtol=1e-4, atol=1e-6)


@SOLVERS
@given(st.integers(0, 99), SHAPES, st.integers(1, 3))
@settings(max_examples=10)
def test_threads_and_company_change_no_bit(solve, seed, shape, threads):
    problem = ridge(seed, shape)
    start, rows = warm(problem), slice(shape[0] // 2, None)
    expected = solve(problem, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(als_kernels, "SMALL_WORK", 1)
        np.testing.assert_array_equal(solve(problem, start, threads), expected)
    some = problem._replace(pull=csr_array(problem.pull[rows]), reg=problem.reg[rows])
    np.testing.assert_array_equal(solve(some, start[rows]), expected[rows])


@SOLVERS
def test_an_empty_row_is_zero(solve):
    assert not solve(ridge())[0].any()


@SOLVERS
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (5, 5)])
def test_an_empty_matrix_gives_zeros(solve, shape):
    empty = csr_array(shape, dtype=np.float32)
    fixed, reg = np.ones((shape[1], 8), np.float32), np.ones(shape[0], np.float32)
    np.testing.assert_array_equal(
        solve(Ridge(empty, fixed, fixed.T @ fixed, reg)), np.zeros((shape[0], 8))
    )


@SOLVERS
def test_reads_arrays_that_cannot_be_written(solve):
    problem = ridge()
    expected = solve(problem)
    for array in (problem.pull.indptr, problem.pull.indices, problem.pull.data, *problem[1:4]):
        array.flags.writeable = False
    np.testing.assert_array_equal(solve(problem), expected)


@given(st.integers(0, 300), st.integers(1, 70), st.integers(1, 3))
@settings(max_examples=15)
def test_gram(num_rows, dim, threads):
    vectors = np.random.default_rng(0).standard_normal((num_rows, dim)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(als_kernels, "GRAM_ROWS", 100)
        product = gram(vectors, threads=threads)
        np.testing.assert_array_equal(product, gram(vectors))
    np.testing.assert_allclose(product, vectors.T @ vectors, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("reg", np.ones(3, np.float32), r"reg must have shape \(20,\), got \(3,\)"),
        ("fixed", np.ones((39, 24), np.float32), r"fixed must have shape \(40, 24\)"),
        ("gram", np.ones((2, 2), np.float32), r"gram must have shape \(24, 24\)"),
    ],
)
def test_shapes_are_checked(field, value, message):
    with pytest.raises(ValueError, match=message):
        solve_exact(ridge()._replace(**{field: value}))


def test_columns_are_checked():
    problem = ridge()
    problem.pull.indices[3] = 40
    with pytest.raises(ValueError, match=r"columns must be in \[0, 40\), got 40"):
        solve_exact(problem)


def test_a_block_is_whole_vectors():
    with pytest.raises(ValueError, match="block must be a multiple of 16 above 0, got 24"):
        solve_blocks(ridge(), warm(ridge()), block=24)
