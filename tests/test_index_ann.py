import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from avrec.errors import ArtifactError, ConfigError
from avrec.index import Scan, top_k
from avrec.index_ann import CODES, EXACT, IndexConfig, Nearly, build, load, save
from avrec.interactions import Histories
from avrec.store import Workspace

faiss = pytest.importorskip("faiss", reason="no faiss: pip install 'avrec[ann]'")
EAGER = IndexConfig(min_items=100, min_recall=0.9, num_queries=20)


@pytest.fixture(scope="module")
def clustered():
    """Items of twenty clusters, some of no vector, and queries near the clusters."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 16), np.float32) * 3
    items = centres[rng.integers(20, size=3000)] + rng.standard_normal((3000, 16), np.float32)
    items[::7] = 0
    queries = centres[rng.integers(20, size=40)] + rng.standard_normal((40, 16), np.float32)
    return items, queries


@pytest.fixture(scope="module")
def built(clustered):
    items, queries = clustered
    return build(items, items.any(axis=1), queries, EAGER)


def nearly(built, items):
    """The index of one way; an exact one where the machine found that faster."""
    if built.index is not None:
        return Nearly(built.index, items, items.any(axis=1))
    index = faiss.index_factory(items.shape[1], "IVF32,Flat", faiss.METRIC_INNER_PRODUCT)
    vectors = np.ascontiguousarray(items[items.any(axis=1)])
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 4
    return Nearly(index, items, items.any(axis=1))


def test_the_fastest_with_enough_recall_is_chosen_and_all_are_told(built):
    enough = [one for one in built.measured if one.recall >= EAGER.min_recall]
    assert built.chosen.milliseconds == min(one.milliseconds for one in enough)
    ways = {one.way: one for one in built.measured}
    assert ways[EXACT].recall == 1
    scans = [ways[f"{dtype} scan"] for dtype in CODES]
    assert [one.size_bytes < ways[EXACT].size_bytes * 0.6 for one in scans] == [True] * 3
    assert min(one.size_bytes for one in scans) == ways["int8 scan"].size_bytes
    assert ways["float16 scan"].recall > 0.98
    assert ways["float16 inverted file"].probes >= 1
    assert "float16 graph" in ways


def test_what_is_found_has_exact_scores_in_order_and_nothing_left_out(built, clustered):
    items, queries = clustered
    barred = Histories.of([top_k(queries[n : n + 1], items, 5).idx[0] for n in range(len(queries))])
    found = nearly(built, items).top_k(queries, 30, barred)
    assert np.all(found.idx >= 0)
    for n, query in enumerate(queries):
        assert not np.isin(found.idx[n], barred.row(n)).any()
        np.testing.assert_allclose(found.scores[n], items[found.idx[n]] @ query, rtol=1e-5)
        assert np.all(np.diff(found.scores[n]) <= 0)
        assert items[found.idx[n]].any(axis=1).all()


def test_a_list_is_never_shorter_than_an_exact_one(built, clustered):
    items, queries = clustered
    known = int(items.any(axis=1).sum())
    most = Histories.of([np.arange(2900)] * len(queries))
    for k, left_out in ((10, most), (known, None), (known + 5, None)):
        found = nearly(built, items).top_k(queries, k, left_out)
        exact = top_k(queries, items, k, left_out)
        np.testing.assert_array_equal(found.idx >= 0, exact.idx >= 0)


def test_a_query_of_zeros_has_no_list(built, clustered):
    items, _ = clustered
    found = nearly(built, items).top_k(np.zeros((2, 16), np.float32), 3)
    assert np.all(found.idx == -1)


def test_saved_and_loaded_it_finds_the_same(built, clustered, tmp_path):
    items, queries = clustered
    workspace = Workspace(str(tmp_path))
    with workspace.create("bundle", workspace.recipe({})) as draft:
        save(built, "als", draft)
    artifact = workspace.open("bundle")
    searcher = load(artifact, "als", items, items.any(axis=1))
    before = nearly(built, items) if built.index is not None else Scan(items)
    np.testing.assert_array_equal(searcher.top_k(queries, 9).idx, before.top_k(queries, 9).idx)
    if built.index is not None:
        assert built.chosen.way in searcher.way
        with pytest.raises(ArtifactError, match="index again"):
            load(artifact, "als", items[:-5], items[:-5].any(axis=1))


def test_few_items_are_scanned_with_nothing_else_tried(clustered):
    items, queries = clustered
    [only] = build(items, items.any(axis=1), queries, IndexConfig()).measured
    assert only.way == EXACT


def test_without_faiss_the_extra_is_named(built, clustered, tmp_path, monkeypatch):
    items, _ = clustered
    workspace = Workspace(str(tmp_path))
    graph = next(one for one in built.measured if one.way == "float16 graph")
    with workspace.create("bundle", workspace.recipe({})) as draft:
        save(built._replace(chosen=graph, index=nearly(built, items)._index), "als", draft)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'avrec[ann]'")):
        load(workspace.open("bundle"), "als", items, items.any(axis=1))


@pytest.mark.parametrize("dtype", CODES)
def test_vectors_of_a_dtype_are_scanned_where_that_is_asked_for(clustered, dtype):
    items, queries = clustered
    known = items.any(axis=1)
    found = build(items, known, queries, IndexConfig(dtype=dtype))
    assert found.chosen.way == f"{dtype} scan"
    assert found.chosen.recall > 0.97
    exact = top_k(queries, items, 10)
    lists = Nearly(found.index, items, known).top_k(queries, 10)
    assert (
        np.mean([np.isin(*pair).mean() for pair in zip(exact.idx, lists.idx, strict=True)]) > 0.97
    )
    large = build(items, known, queries, replace(EAGER, dtype=dtype))
    assert {one.way for one in large.measured[1:]} == {
        f"{dtype} scan",
        f"{dtype} inverted file",
        f"{dtype} graph",
    }


def test_a_dtype_that_finds_too_little_leaves_lists_exact(clustered, monkeypatch):
    items, queries = clustered
    monkeypatch.setattr("avrec.index_ann._recall", lambda *_: 0.5)
    found = build(items, items.any(axis=1), queries, IndexConfig(dtype="int8"))
    assert (found.chosen.way, found.index) == (EXACT, None)
    assert [(one.way, one.recall) for one in found.measured[1:]] == [("int8 scan", 0.5)]


def test_exact_lists_may_be_asked_for(clustered):
    items, queries = clustered
    [only] = build(items, items.any(axis=1), queries, replace(EAGER, dtype="float32")).measured
    assert only.way == EXACT


def test_a_dtype_without_faiss_names_the_extra(clustered, monkeypatch):
    items, queries = clustered
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'avrec[ann]'")):
        build(items, items.any(axis=1), queries, IndexConfig(dtype="int8"))


@pytest.mark.parametrize(
    "wrong", [{"min_items": 0}, {"min_recall": 0}, {"num_queries": 0}, {"dtype": "int4"}]
)
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match="must be"):
        IndexConfig(**wrong)
