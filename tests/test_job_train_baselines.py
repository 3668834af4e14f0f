from dataclasses import replace

import numpy as np
import pytest

from avrec import bundle
from avrec.config import RunConfig
from avrec.errors import ArtifactError
from avrec.interactions import Histories
from avrec.models.bpr import BPRConfig
from avrec.models.svd import SVDConfig
from avrec.recommend import RecommendConfig
from avrec.schema import EVENTS, MEDIA, empty
from avrec.splits import SplitConfig
from avrec.store import Workspace
from jobs import index, train_baselines
from tests.test_job_train_als import write

NAMES = ("svd", "bpr", "item_neighbours", "user_neighbours")
CONFIG = RunConfig(
    svd=SVDConfig(dim=4),
    bpr=BPRConfig(dim=4),
    split=SplitConfig(rank_share=0, test_share=0),
    recommend=RecommendConfig(sources=("svd", "item_neighbours")),
)


@pytest.fixture
def workspace(tmp_path, two_tastes) -> Workspace:
    made = Workspace(str(tmp_path))
    write(made, two_tastes.toarray())
    for name, schema in (("media", MEDIA), ("events", EVENTS)):
        made.write_table(name, empty(schema), schema, made.recipe({}))
    return made


def versions(workspace):
    return {name: workspace.open(name).version for name in NAMES}


def test_makes_again_only_what_has_changed(workspace):
    train_baselines.run(CONFIG, workspace)
    first = versions(workspace)
    train_baselines.run(CONFIG, workspace)
    assert versions(workspace) == first
    train_baselines.run(replace(CONFIG, svd=SVDConfig(dim=5)), workspace)
    second = versions(workspace)
    assert [name for name in NAMES if second[name] != first[name]] == ["svd"]


def test_those_that_are_named_propose_in_serving(workspace, two_tastes):
    train_baselines.run(CONFIG, workspace)
    index.run(CONFIG, workspace)
    loaded = bundle.load(workspace.open("bundle"))
    assert workspace.open("bundle").json("bundle.json")["models"] == ["item_neighbours", "svd"]
    history = two_tastes.indices[: two_tastes.indptr[1]]
    [ranked] = loaded.recommender.recommend(Histories.of([history]), k=1, at=0)
    assert ranked.items.tolist() == [0], "the one item held back"
    assert set(ranked.sources[0]) >= {"svd", "item_bm25"}


def test_another_catalogue_needs_them_made_again(workspace, two_tastes):
    train_baselines.run(CONFIG, workspace)
    write(workspace, np.pad(two_tastes.toarray(), ((0, 0), (0, 1))))
    index.run(CONFIG, workspace)
    with pytest.raises(ArtifactError, match="run train_baselines again"):
        bundle.load(workspace.open("bundle"))
