"""An item that nobody has taken to yet, from training to a served list."""

from dataclasses import replace

import numpy as np
import pytest

from avrec import bundle
from avrec.config import RunConfig
from avrec.embed import pool
from avrec.embed.pool import Content
from avrec.interactions import Histories
from avrec.models import als, cold
from avrec.models.als import ALSConfig
from avrec.models.cold import ColdConfig
from avrec.models.towers_net import TowersConfig
from avrec.recommend import RecommendConfig
from avrec.schema import EVENTS, MEDIA, METRICS, empty
from avrec.splits import SplitConfig
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary
from avrec.workers import WorkersConfig
from jobs import evaluate, index, train_als, train_towers
from tests.test_job_train_als import write

CONFIG = RunConfig(
    als=ALSConfig(dim=4, epochs=6),
    towers=TowersConfig(dim=8, num_heads=2, history_length=8, epochs=2, batch_size=64),
    split=SplitConfig(rank_share=0, test_share=0.02),
    workers=WorkersConfig(num_workers=1, num_cpus=0.5),
    recommend=RecommendConfig(sources=("als",)),
)
ITEMS = Vocabulary.of([f"i{n:02}" for n in range(22)])
CONTENT = Content(ITEMS, {"sound@1": np.eye(2, dtype=np.float32)[np.arange(22) % 2]})
LATE = [20, 21]
"""Catalogue rows of an even and an odd item, taken to after the cut alone."""
JOBS = {"als": train_als, "towers": train_towers}


def made(root, two_tastes, fans):
    """Two tastes, whose content says which; after the cut `fans`, even and odd, take to LATE.

    And each of them to the one item that was missed before.
    """
    workspace, liked = Workspace(str(root)), np.pad(two_tastes.toarray(), ((0, 0), (0, 2)))
    liked[fans, LATE] = liked[fans, fans] = 1
    user, item = np.nonzero(liked)
    late = np.isin(item, LATE) | (user == item)
    write(workspace, liked, np.where(late, 1000, np.arange(len(late))))
    for name, schema in (("media", MEDIA), ("events", EVENTS)):
        workspace.write_table(name, empty(schema), schema, workspace.recipe({}))
    with workspace.create("content", Recipe({}, {})) as draft:
        pool.save(CONTENT, draft)
    return workspace


@pytest.mark.parametrize("name", JOBS)
def test_what_came_after_the_cut_changes_no_vector(local_ray, two_tastes, tmp_path, name):
    """Leakage: the same items, taken to by other users."""
    found = []
    for fans in ([0, 1], [6, 13]):
        workspace = made(tmp_path / str(fans), two_tastes, fans)
        JOBS[name].run(CONFIG, workspace)
        artifact = workspace.open(name)
        learned = cold.load(artifact, name, CONTENT)
        found.append(artifact.tensors(f"{name}.safetensors")["items"])
        found.append(learned.vectors(CONTENT.joined()))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    assert found[0][LATE].any(axis=1).all()


def test_a_cold_item_is_served_to_its_kind_and_judged_apart(local_ray, two_tastes, tmp_path):
    workspace = made(tmp_path, two_tastes, [0, 1])
    for job in (train_als, evaluate, index):
        job.run(CONFIG, workspace)
    artifact = workspace.open("bundle")
    recommender = bundle.load(artifact).recommender
    some = Histories.of([np.arange(0, 20, 2, dtype=np.int32), np.arange(1, 20, 2, dtype=np.int32)])
    even, odd = recommender.recommend(some, k=1, at=0)
    assert (even.items.tolist(), odd.items.tolist()) == ([20], [21])

    metrics = workspace.read_table("metrics", METRICS).to_pylist()
    found = {
        row["split"]: row["value"]
        for row in metrics
        if (row["model"], row["metric"], row["k"]) == ("als", "recall", 10)
    }
    assert found["test/warm_items"] == found["test/cold_items"] == found["test"] == 1


@pytest.mark.parametrize("settings", [ColdConfig(), ColdConfig(weight_steps=5)])
def test_a_bundle_foretells_the_vector_of_an_item_made_a_moment_ago(
    local_ray, two_tastes, tmp_path, settings
):
    workspace = made(tmp_path, two_tastes, [0, 1])
    for job in (train_als, index):
        job.run(replace(CONFIG, cold=settings), workspace)
    artifact = workspace.open("bundle")
    newest = Content(Vocabulary.of(["new"]), {"sound@1": np.eye(2, dtype=np.float32)[:1]})
    [vector] = cold.load(artifact, "als", newest).vectors(newest.joined())
    model = als.load(artifact, ITEMS)
    scores = model.user_vectors(Histories.of([np.array([0, 2]), np.array([1, 3])])) @ vector
    assert scores[0] > scores[1] + 0.2
