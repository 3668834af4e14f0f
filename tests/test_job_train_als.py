from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec.config import RunConfig
from avrec.errors import ArtifactError
from avrec.models import als
from avrec.models.als import ALSConfig
from avrec.schema import INTERACTIONS, ITEMS
from avrec.splits import SplitConfig
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from avrec.workers import WorkersConfig
from jobs.train_als import run

CONFIG = RunConfig(
    als=ALSConfig(dim=4, epochs=6, warm_start=True),
    split=SplitConfig(rank_share=0, test_share=0),
    workers=WorkersConfig(num_cpus=0.5),
)


def write(workspace, liked, at=None):
    """Catalogue and interactions of a matrix, items in columns; `at` is when, in microseconds."""
    ids = [f"i{n:02}" for n in range(liked.shape[1])]
    items = pa.table({"item_id": ids, "title": ids})
    columns = {name: items[name] for name in items.column_names}
    empty = {f.name: pa.nulls(len(ids), f.type) for f in ITEMS if f.name not in columns}
    recipe = workspace.recipe({"num_items": len(ids)})
    workspace.write_table("items", pa.table(columns | empty), ITEMS, recipe)
    user, item = np.nonzero(liked)
    rows = {
        "user_id": [f"u{n:02}" for n in user],
        "item_id": [ids[n] for n in item],
        "weight": np.ones(len(user), np.float32),
        "at": pa.array(np.arange(len(user)) if at is None else at, pa.timestamp("us", tz="UTC")),
    }
    workspace.write_table("interactions", pa.table(rows), INTERACTIONS, recipe)


def trained(workspace, num_items):
    ids = Vocabulary.of([f"i{n:02}" for n in range(num_items)])
    return als.load(workspace.open("als"), ids)


def test_goes_on_from_the_model_at_hand(local_ray, two_tastes, tmp_path):
    workspace, liked = Workspace(str(tmp_path)), two_tastes.toarray()
    write(workspace, liked)
    run(CONFIG, workspace)
    first, version = trained(workspace, 20), workspace.open("als").version
    run(CONFIG, workspace)
    assert workspace.open("als").version == version, "up to date"

    grown = np.pad(liked, ((0, 2), (0, 2)))
    grown[::2, 20] = 1
    write(workspace, grown)
    run(CONFIG, workspace)
    second = trained(workspace, 22)
    assert second.trained.tolist() == [True] * 21 + [False]
    assert second.config.epochs == 6
    assert workspace.open("als").manifest["notes"] == {"started_from": version}
    moved = np.linalg.norm(second.items.vectors[:20] - first.items.vectors)
    assert moved < 0.5 * np.linalg.norm(first.items.vectors), "not drawn anew"
    scores = second.items.vectors @ second.items.vectors[20]
    assert scores[0:20:2].min() > scores[1:20:2].max(), "the new item is of the even taste"

    other = replace(CONFIG, als=replace(CONFIG.als, dim=8))
    with pytest.raises(ArtifactError, match="the ALS model at hand has dim 4, not 8"):
        run(other, workspace)
