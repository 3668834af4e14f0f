from dataclasses import replace

import numpy as np
import pytest

from avrec import checks
from avrec.errors import ArtifactError
from avrec.recommend import Ranked, RecommendConfig
from avrec.store import Workspace
from tests.bundles import write_bundle

ITEMS = [{"item_id": f"i{n}", "title": f"t{n}"} for n in range(6)]
PAIRS = [("u", "i0"), ("u", "i1"), ("v", "i5")]


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(str(tmp_path))
    write_bundle(made, ITEMS, PAIRS)
    return made


@pytest.fixture
def loaded(workspace):
    return checks.load(workspace.open("bundle"))


def test_a_good_bundle_passes(loaded):
    assert len(loaded.vocabulary) == 6


def test_an_altered_file_is_told(workspace):
    artifact = workspace.open("bundle")
    where = artifact.place / "items.parquet"
    where.write(bytes(len(where.read())))
    with pytest.raises(ArtifactError, match="altered"):
        checks.load(artifact)


def test_a_bundle_of_nothing_is_refused(tmp_path):
    workspace = Workspace(str(tmp_path))
    write_bundle(workspace, [], [])
    with pytest.raises(ArtifactError, match="no item to list"):
        checks.load(workspace.open("bundle"))


def test_facts_of_another_version_are_told_as_the_bundles_fault(workspace):
    with workspace.create("bundle", workspace.recipe({})) as draft:
        draft.add_json("bundle.json", {"models": []})
    with pytest.raises(ArtifactError, match=r"cannot be served|holds no"):
        checks.load(workspace.open("bundle"))


class Wrong:
    """Gives the same list to everybody."""

    def __init__(self, knowledge, items, scores):
        self.knowledge = knowledge
        self.config, sure = RecommendConfig(), np.ones(len(items), np.float32)
        rows, values = np.array(items, np.int32), np.array(scores, np.float32)
        self.ranked = Ranked(rows, values, sure, [], [], "wrong")

    def recommend(self, histories, **_):
        return [self.ranked] * len(histories)

    def similar(self, item, k):
        return self.ranked


@pytest.mark.parametrize(
    ("items", "scores", "told"),
    [
        ([2, 3, 4], [3, 2, 1], "lists 3 items, expected 4"),
        ([2, 3, 4, 5], [3, np.nan, 2, 1], "not finite"),
        ([2, 3, 4, 5], [3, np.inf, 2, 1], "not finite"),
        ([2, 3, 4, 5], [1, 2, 3, 4], "do not fall"),
        ([2, 3, 4, 4], [4, 3, 2, 1], "an item twice"),
        ([0, 3, 4, 5], [4, 3, 2, 1], "one to be left out"),
    ],
)
def test_wrong_lists_are_told(loaded, items, scores, told):
    wrong = Wrong(loaded.recommender.knowledge, items, scores)
    with pytest.raises(ArtifactError, match=told):
        checks.check(replace(loaded, recommender=wrong))


def test_an_item_that_cannot_be_played_is_told(loaded):
    playable = np.array([1, 1, 0, 1, 1, 1], bool)
    wrong = Wrong(replace(loaded.recommender.knowledge, playable=playable), [2, 3, 4], [3, 2, 1])
    with pytest.raises(ArtifactError, match="cannot be played"):
        checks.check(replace(loaded, recommender=wrong))
