import implicit.cpu.als
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix, random_array
from threadpoolctl import threadpool_limits

from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.index import top_k
from avrec.interactions import Histories
from avrec.models import als
from avrec.models.als import ALS, ALSConfig, Epoch, Side, fit, loss, solve_rows
from avrec.models.als_fit import Fitter, split
from avrec.models.als_objective import SOLVERS
from avrec.models.als_parts import Solo
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary

OF_IMPLICIT = ALSConfig(
    dim=8,
    epochs=3,
    objective="confidence",
    unobserved_weight=1,
    reg_exponent=0,
    reg=0.1,
    alpha=4,
    solver="cholesky",
)
BOTH = pytest.mark.parametrize("objective", ["ials", "confidence"])


def world(seed=0, shape=(40, 30), density=0.2):
    """Random weights in which every row and column has an entry."""
    rng = np.random.default_rng(seed)
    weights = random_array(shape, density=density, rng=rng, data_sampler=rng.uniform).toarray()
    weights[np.arange(shape[0]), np.arange(shape[0]) % shape[1]] = 1
    return csr_array(weights.astype(np.float32))


def trained_by_implicit(weights, items, config):
    model = implicit.cpu.als.AlternatingLeastSquares(
        factors=config.dim,
        regularization=config.reg,
        alpha=config.alpha,
        iterations=config.epochs,
        use_cg=False,
        num_threads=1,
    )
    model.user_factors = np.zeros((weights.shape[0], config.dim), np.float32)
    model.item_factors = items.copy()
    model.fit(csr_matrix(weights), show_progress=False)
    return model


def test_equals_implicit():
    weights, config = world(), OF_IMPLICIT
    start = np.random.default_rng(1).normal(0, 0.1, (30, 8)).astype(np.float32)
    with threadpool_limits(1, "blas"):
        theirs = trained_by_implicit(weights, start, config)
        their_users = theirs.recalculate_user(np.arange(40), csr_matrix(weights))
    items = fit(weights, config, rng=np.random.default_rng(), start=Epoch(0, start))
    users = solve_rows(weights, Side.of(items), config)
    np.testing.assert_allclose(items, theirs.item_factors, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(users, their_users, rtol=1e-3, atol=1e-5)

    confidence = csr_matrix(config.alpha * weights)
    scale = confidence.sum() + np.prod(weights.shape) - weights.nnz
    their_loss = implicit.cpu.als.calculate_loss(confidence, users, items, config.reg)
    assert loss(weights, users, items, config) / scale == pytest.approx(their_loss, rel=1e-5)


@BOTH
@given(seed=st.integers(0, 2**32 - 1), reg_exponent=st.sampled_from([0, 0.5, 1]))
def test_solution_is_stationary(objective, seed, reg_exponent):
    rng = np.random.default_rng(seed)
    weights, items = world(seed, (5, 7), 0.5), rng.normal(size=(7, 3))
    config = ALSConfig(dim=3, objective=objective, reg_exponent=reg_exponent, alpha=2, reg=0.1)
    users = solve_rows(weights, Side.of(items), config)
    best = loss(weights, users, items, config)
    for _ in range(5):
        step = rng.normal(size=users.shape) * 1e-2
        assert loss(weights, users + step, items, config) > best


@BOTH
def test_every_epoch_lowers_the_loss(objective, rng):
    weights, config = world(), ALSConfig(dim=4, objective=objective)
    losses = []

    def note(epoch):
        users = solve_rows(weights, Side.of(epoch.items), config)
        losses.append(loss(weights, users, epoch.items, config))

    fit(weights, config, rng=rng, on_epoch=note)
    assert len(losses) == config.epochs
    assert (np.diff(losses) < 1e-4 * losses[0]).all()


@BOTH
def test_recommends_the_one_item_held_back(two_tastes, rng, objective):
    config = ALSConfig(dim=4, objective=objective)
    items = fit(two_tastes, config, rng=rng)
    users = solve_rows(two_tastes, Side.of(items), config)
    scores = np.where(two_tastes.toarray() > 0, -np.inf, users @ items.T)
    assert (scores.argmax(axis=1) == np.arange(20)).all()


@given(seed=st.integers(0, 99), rows=st.lists(st.integers(0, 39), min_size=1, max_size=9))
def test_row_is_the_same_in_any_company(seed, rows):
    weights, config = world(seed), ALSConfig(dim=8)
    fixed = Side.of(np.random.default_rng(seed).normal(size=(30, 8)).astype(np.float32))
    together = solve_rows(weights, fixed, config)
    np.testing.assert_array_equal(solve_rows(weights[rows], fixed, config), together[rows])


@given(size=st.integers(1, 50))
def test_blocks_are_all_rows_in_order(size):
    class Rank(Solo):
        def __init__(self, rank):
            self.rank, self.size = rank, size

    weights = world()
    parts = [split(weights, ALSConfig(), Rank(rank)) for rank in range(size)]
    users = np.concatenate([part.users.pull.toarray() for part in parts])
    items = np.concatenate([part.items.pull.toarray() for part in parts])
    np.testing.assert_array_equal(users, weights.toarray())
    np.testing.assert_array_equal(items, weights.toarray().T)


@pytest.mark.parametrize("solver", SOLVERS)
def test_going_on_equals_never_stopping(solver):
    weights, config, seen = world(), ALSConfig(dim=4, epochs=4, solver=solver), []

    def keep(epoch):
        seen.append(epoch._replace(items=epoch.items.copy(), users=epoch.users.copy()))

    whole = fit(weights, config, rng=np.random.default_rng(3), on_epoch=keep)
    rest = fit(weights, config, rng=np.random.default_rng(4), start=seen[1])
    np.testing.assert_array_equal(rest, whole)


@BOTH
def test_nothing_observed_is_a_zero_row(objective, rng):
    weights = csr_array(np.array([[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 0, 0]], np.float32))
    config = ALSConfig(dim=3, objective=objective)
    items = fit(weights, config, rng=rng)
    assert items.any(axis=1).tolist() == [True, False, True, False]
    users = solve_rows(weights, Side.of(items), config)
    assert users.any(axis=1).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_in_empty_out(shape, rng):
    items = fit(csr_array(shape, dtype=np.float32), ALSConfig(dim=2, epochs=1), rng=rng)
    assert items.shape == (shape[1], 2)
    assert not items.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"reg": 0}, "reg must be above 0 and finite, got 0"),
        ({"reg_exponent": 2}, r"reg_exponent must be in \[0, 1\], got 2"),
        ({"objective": "bpr"}, "objective must be one of .*, got 'bpr'"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(ValueError, match=message):
        ALSConfig(**wrong)


@pytest.fixture
def model(two_tastes, rng) -> ALS:
    config = ALSConfig(dim=4)
    vocabulary = Vocabulary.of([f"i{row:02}" for row in range(20)])
    return ALS(Factors(vocabulary, fit(two_tastes, config, rng=rng)), config)


def test_folds_a_history_in_as_training_would(model, two_tastes):
    histories = Histories.of([two_tastes.indices[two_tastes.indptr[7] : two_tastes.indptr[8]], []])
    users = solve_rows(two_tastes, Side.of(model.items.vectors), model.config)
    folded = model.user_vectors(histories)
    np.testing.assert_array_equal(folded[0], users[7])
    assert not folded[1].any()
    assert top_k(folded, model.items.vectors, 1, exclude=histories).idx.tolist() == [[7], [-1]]


def test_folds_an_item_in_as_training_would(two_tastes, model):
    config = model.config
    fitter = Fitter(split(two_tastes, config), config)
    last = fitter.run(fitter.begin(np.random.default_rng(1)))
    factors = Factors(model.items.vocabulary, last.items)
    whole = ALS(factors, config, audience=fitter.audience(last))
    users = solve_rows(two_tastes, Side.of(last.items), config)
    best = solve_rows(csr_array(two_tastes.T), Side.of(users), config)

    listeners = np.flatnonzero(two_tastes.toarray()[:, 6])
    histories = Histories.of([np.flatnonzero(row) for row in two_tastes.toarray()[listeners]])
    liked_by = csr_array(np.array([np.ones(len(listeners)), np.zeros(len(listeners))]))
    folded = whole.item_vectors(liked_by, histories)
    np.testing.assert_allclose(folded[0], best[6], rtol=1e-3, atol=1e-4)
    assert not folded[1].any(), "nobody took to it"
    with pytest.raises(ValueError, match="has its audience"):
        model.item_vectors(liked_by, histories)


def test_a_history_of_unknown_items_is_a_zero_row(rng):
    weights = csr_array(np.array([[1, 0, 2], [0, 0, 1]], np.float32))
    items = Factors(Vocabulary.of(["a", "b", "c"]), fit(weights, ALSConfig(dim=2), rng=rng))
    users = ALS(items, ALSConfig(dim=2)).user_vectors(Histories.of([np.array([1])]))
    assert not users.any()


def test_filled_rows_do_not_move_the_users(model, rng):
    trained = np.arange(20) < 18
    zeroed, filled = model.items.vectors.copy(), model.items.vectors.copy()
    zeroed[~trained] = 0
    filled[~trained] = rng.normal(size=(2, 4))
    histories = Histories.of([np.array([1, 3, 5])])
    with_zeros = ALS(Factors(model.items.vocabulary, zeroed), model.config)
    with_filled = ALS(Factors(model.items.vocabulary, filled), model.config, trained)
    np.testing.assert_array_equal(
        with_zeros.user_vectors(histories), with_filled.user_vectors(histories)
    )


def test_comes_back_from_disk_as_it_was(model, tmp_path):
    workspace = Workspace(str(tmp_path))
    with workspace.create("als", Recipe({}, {})) as draft:
        als.save(model, draft)
    again = als.load(workspace.open("als"), model.items.vocabulary)
    assert again.audience is None
    histories = Histories.of([np.array([0, 2])])
    np.testing.assert_array_equal(again.user_vectors(histories), model.user_vectors(histories))
    assert again.config == model.config
    with pytest.raises(ArtifactError, match="another catalogue"):
        als.load(workspace.open("als"), Vocabulary.of(pa.array(["other"])))


def test_audience_comes_back_from_disk(model, tmp_path):
    workspace, known = Workspace(str(tmp_path)), Side.of(model.items.vectors).population
    with workspace.create("als", Recipe({}, {})) as draft:
        als.save(ALS(model.items, model.config, audience=known), draft)
    again = als.load(workspace.open("als"), model.items.vocabulary).audience
    np.testing.assert_array_equal(again.gram, known.gram)
    assert again.num_known == known.num_known


def test_an_earlier_model_lends_what_it_has_trained(model, tmp_path):
    workspace, trained = Workspace(str(tmp_path)), np.arange(20) != 2
    with workspace.create("als", Recipe({}, {})) as draft:
        als.save(ALS(model.items, model.config, trained), draft)
    present = Vocabulary.of(["a", "i01", "i02", "i19", "z"])
    found = als.earlier(workspace.open("als"), present, model.config)
    assert found.known.tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(found.items[[1, 3]], model.items.vectors[[1, 19]])
    assert not found.items[[0, 2, 4]].any()
    with pytest.raises(ArtifactError, match=r"has dim 4, not 8; set als\.warm_start = false"):
        als.earlier(workspace.open("als"), present, ALSConfig(dim=8))
