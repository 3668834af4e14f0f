import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.arrays import unit
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.index import as_lister
from avrec.interactions import Histories
from avrec.models import coded
from avrec.models.svd import SVD, SVDConfig
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary

EVERY = slice(None)
CODERS = {
    "int8": coded.int8,
    "product": lambda rows: coded.product(rows, 4, rng=np.random.default_rng(0)),
}


@pytest.fixture(params=CODERS)
def coder(request):
    return CODERS[request.param]


def clustered(rng, num_rows=600, dim=16):
    """Rows near forty points, one of which is not known."""
    points = rng.normal(size=(40, dim))
    rows = points[np.arange(num_rows) % 40] + 0.05 * rng.normal(size=(num_rows, dim))
    rows[7] = 0
    return rows.astype(np.float32)


@given(seed=st.integers(0, 99), dim=st.integers(1, 9))
def test_int8_errs_by_half_a_step_at_most(seed, dim):
    rows = np.random.default_rng(seed).normal(size=(20, dim)).astype(np.float32)
    rows[3] = 0
    apart = np.abs(coded.int8(rows).vectors(EVERY) - rows)
    steps = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (apart <= 0.5 * steps + 1e-6).all()


def test_product_codes_keep_what_rows_have_in_common(rng):
    rows = clustered(rng)
    found = coded.product(rows, 8, rng=rng).vectors(EVERY)
    error = ((found - rows) ** 2).sum() / (rows**2).sum()
    assert error < 0.01


def test_a_rotation_gathers_what_lies_across_the_parts(rng):
    """All that there is lies in two directions, askew to the axes, and two parts tell it."""
    plane = np.linalg.qr(rng.normal(size=(16, 16)))[0][:, :2]
    rows = (rng.normal(size=(3000, 2)) @ plane.T).astype(np.float32)
    found = coded.product(rows, 2, rng=rng)
    error = ((found.vectors(EVERY) - rows) ** 2).sum() / (rows**2).sum()
    assert error < 0.002
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(16), atol=1e-4)


def test_few_rows_are_coded_as_they_are(rng):
    rows = rng.normal(size=(30, 8)).astype(np.float32)
    found = coded.product(rows, 2, rng=rng).vectors(EVERY)
    np.testing.assert_allclose(found, rows, atol=1e-4)


def test_what_is_not_known_stays_so(rng, coder):
    found = coder(clustered(rng)).vectors(EVERY)
    assert np.flatnonzero(~found.any(axis=1)).tolist() == [7]


@pytest.mark.parametrize("num_rows", [0, 3])
def test_nothing_known_is_coded(coder, num_rows):
    rows = np.zeros((num_rows, 8), np.float32)
    np.testing.assert_array_equal(coder(rows).vectors(EVERY), rows)


def test_bytes_are_few(rng):
    rows = clustered(rng, 6000)
    assert coded.int8(rows).num_bytes == 6000 * (16 + 4)
    shared = 256 * 16 * 4 + 16 * 16 * 4
    assert coded.product(rows, 4, rng=rng).num_bytes == 6000 * (4 + 1) + shared


@pytest.mark.parametrize("num_parts", [0, 3])
def test_rejects_parts_that_do_not_fit(rng, num_parts):
    with pytest.raises(ValueError, match=f"num_parts must divide the dim 16, got {num_parts}"):
        coded.product(clustered(rng), num_parts, rng=rng)


def test_comes_back_from_file(rng, coder, tmp_path):
    rows, workspace = clustered(rng), Workspace(str(tmp_path))
    before = coder(rows)
    with workspace.create("als", Recipe({}, {})) as draft:
        coded.save(before, draft, "items")
        draft.add_tensors("else.safetensors", {"items": rows})
    after = coded.load(workspace.open("als"), "items")
    np.testing.assert_array_equal(after.vectors(EVERY), before.vectors(EVERY))
    with pytest.raises(ArtifactError, match="holds no coded vectors"):
        coded.load(workspace.open("als"), "else")


def test_lists_are_those_of_what_the_codes_stand_for(rng, coder, monkeypatch):
    """In blocks of 100 of 600 items, of which the history is left out."""
    monkeypatch.setattr(coded, "ROWS_PER_BLOCK", 100)
    items = Vocabulary.of([f"{n:04}" for n in range(600)])
    model = SVD(Factors(items, unit(clustered(rng))), SVDConfig(dim=16))
    few = coder(model.items.vectors)
    past = Histories.of([rng.permutation(600)[:n].astype(np.int32) for n in (0, 1, 9, 30)])
    found = coded.CodedLister(model, few).lists(past, 25, exclude=past)
    queries, table = model.user_vectors(past), few.vectors(EVERY)
    scores = queries @ table.T
    for query, row in enumerate(found.idx):
        if not len(past.row(query)):
            assert (row == -1).all()
            continue
        scores[query, past.row(query)] = -np.inf
        best = np.argsort(-scores[query], kind="stable")[:25]
        np.testing.assert_allclose(found.scores[query], scores[query, best], rtol=1e-5)
        assert not set(row) & {*past.row(query), 7}


def test_int8_lists_are_nearly_the_models(rng):
    items = Vocabulary.of([f"{n:04}" for n in range(500)])
    rows = rng.normal(size=(500, 32)).astype(np.float32)
    model = SVD(Factors(items, rows), SVDConfig(dim=32))
    past = Histories.of([rng.permutation(500)[:5].astype(np.int32) for _ in range(50)])
    lists = [
        as_lister(m).lists(past, 20, exclude=past).idx
        for m in (model, coded.CodedLister(model, coded.int8(rows)))
    ]
    same = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(*lists, strict=True)])
    assert same > 0.95
