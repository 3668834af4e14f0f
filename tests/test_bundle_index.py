"""A bundle holds what its models' vectors are searched by, and lists by it."""

import numpy as np
import pytest

from avrec import bundle
from avrec.factors import Factors
from avrec.index_ann import IndexConfig, Nearly
from avrec.interactions import Histories
from avrec.models import als
from avrec.recommend import RecommendConfig
from avrec.serving.page.status import Retrieving, _retrieving
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from tests.bundles import write_bundle

faiss = pytest.importorskip("faiss", reason="no faiss: pip install 'avrec[ann]'")
IDS = [f"i{n:03}" for n in range(600)]
CONFIG = RecommendConfig(sources=("als",))


def written(root, **index):
    rng = np.random.default_rng(0)
    workspace = Workspace(str(root))
    vectors = rng.standard_normal((len(IDS), 16)).astype(np.float32)
    model = als.ALS(Factors(Vocabulary.of(IDS), vectors), als.ALSConfig(dim=16))
    with workspace.create("als", workspace.recipe({})) as draft:
        als.save(model, draft)
    pairs = [(f"u{n}", IDS[item]) for n in range(30) for item in rng.choice(len(IDS), 5, False)]
    items = [{"item_id": item_id, "title": item_id} for item_id in IDS]
    models = {"als": workspace.open("als")}
    write_bundle(workspace, items, pairs, models, recommend=CONFIG, index=IndexConfig(**index))
    return workspace.open("bundle")


def lists(recommender):
    taken = Histories.of([np.array([n, n + 9, n + 200], np.int32) for n in range(40)])
    return recommender.rows(taken, 20, 0)


def test_a_small_catalogue_is_scanned(tmp_path):
    artifact = written(tmp_path)
    assert not artifact.names("index.")
    recommender = bundle.load(artifact).recommender
    assert _retrieving(recommender.retrievers[0], recommender.searchers).search == "exact scan"


def test_a_large_one_by_what_was_fastest_when_the_bundle_was_made(tmp_path, monkeypatch):
    monkeypatch.setattr("avrec.index_ann._milliseconds", fastest_graph)
    artifact = written(tmp_path, min_items=100, min_recall=0.9)
    assert set(artifact.names("index.")) == {"index.als.json", "index.als.faiss"}
    recommender = bundle.load(artifact).recommender
    assert isinstance(recommender.searchers["als"], Nearly)
    shown = _retrieving(recommender.retrievers[0], recommender.searchers)
    assert shown == Retrieving(
        name="als", items=600, dim=16, search=recommender.searchers["als"].way
    )
    assert shown.search.startswith("float16 graph, ")
    exact = bundle.load(written(tmp_path / "exact")).recommender
    same = [np.isin(a, b).mean() for a, b in zip(lists(exact), lists(recommender), strict=True)]
    assert np.mean(same) > 0.9


def test_int8_vectors_are_scanned_where_that_is_asked_for_and_recall_is_told(tmp_path):
    artifact = written(tmp_path, dtype="int8")
    told = artifact.json("index.als.json")["chosen"]
    assert told["way"] == "int8 scan"
    assert told["size_bytes"] < 600 * 16 * 2
    recommender = bundle.load(artifact).recommender
    shown = _retrieving(recommender.retrievers[0], recommender.searchers).search
    assert shown == f"int8 scan, recall@100 {told['recall']:.3f} when built"
    exact = bundle.load(written(tmp_path / "exact", dtype="float32")).recommender
    assert not exact.searchers
    same = [np.isin(a, b).mean() for a, b in zip(lists(exact), lists(recommender), strict=True)]
    assert np.mean(same) > 0.97


def fastest_graph(searcher, asked):
    """Say that a graph is fastest, whatever the clock of a busy machine says."""
    return 1.0 if "HNSW" in type(getattr(searcher, "_index", None)).__name__ else 2.0
