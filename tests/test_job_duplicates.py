"""From uploads to lists: the job groups them, the bundle carries the groups, lists show one."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec import bundle, lineup
from avrec.config import RunConfig
from avrec.duplicates import groups
from avrec.feedback import FeedbackConfig
from avrec.interactions import Histories
from avrec.recommend import RecommendConfig
from avrec.schema import (
    DUPLICATES,
    FINGERPRINTS,
    INTERACTIONS,
    ITEMS,
    MEDIA,
    conform,
)
from avrec.splits import Split
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary
from jobs import duplicates
from tests.test_duplicates import catalogue, prints, upload
from tests.test_evaluate import interactions

NAMES = list("abcd")
NOBODY = Histories.of([np.empty(0, np.int32)])


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """Four uploads of which b and c are one work; the later in the alphabet, the more popular."""
    made = Workspace(str(tmp_path))
    rows = [upload(work, copy) for copy, work in enumerate([0, 1, 1, 2])]
    items, media = catalogue(NAMES, [row["sha256"] for row in rows])
    made.write_table("items", items, ITEMS, Recipe({}, {}))
    made.write_table("media", media, MEDIA, Recipe({}, {}))
    made.write_table("fingerprints", prints(rows), FINGERPRINTS, Recipe({}, {}))
    return made


def plays() -> pa.Table:
    return interactions("xa xb yb xc yc zc xd yd zd wd", 0)


def contents(workspace: Workspace, config: RecommendConfig) -> bundle.Contents:
    return bundle.Contents(
        items=workspace.read_table("items", ITEMS),
        interactions=conform(plays(), INTERACTIONS),
        seen=bundle.SEEN.empty_table(),
        media=workspace.read_table("media", MEDIA),
        duplicates=bundle.duplicates_of(workspace),
        models={},
        recommend=config,
        feedback=FeedbackConfig(),
    )


def popular(workspace: Workspace, config: RecommendConfig) -> list[str]:
    with workspace.create("bundle", Recipe({}, {})) as draft:
        bundle.write(draft, contents(workspace, config))
    loaded = bundle.load(workspace.open("bundle"))
    [ranked] = loaded.recommender.recommend(NOBODY, k=4, at=0)
    return loaded.vocabulary.id_of(ranked.items).to_pylist()


def test_groups_are_written_once_and_again_only_when_the_settings_change(workspace):
    duplicates.run(RunConfig(), workspace)
    table = workspace.read_table("duplicates", DUPLICATES)
    assert table.select(["item_id", "group"]).to_pydict() == {
        "item_id": ["b", "c"],
        "group": ["b", "b"],
    }
    version = workspace.open("duplicates").version
    duplicates.run(RunConfig(), workspace)
    assert workspace.open("duplicates").version == version
    strict = replace(RunConfig().duplicates, min_frames=1.0, min_sound=1.0)
    duplicates.run(RunConfig(duplicates=strict), workspace)
    assert not len(workspace.read_table("duplicates", DUPLICATES))


def test_a_served_list_shows_one_of_each_unless_told_otherwise(workspace):
    assert popular(workspace, RecommendConfig()) == list("dcba")
    duplicates.run(RunConfig(), workspace)
    assert popular(workspace, RecommendConfig()) == list("dca")
    assert popular(workspace, RecommendConfig(one_of_each=False)) == list("dcba")


def test_a_new_upload_of_a_known_work_is_hidden_with_it(workspace):
    duplicates.run(RunConfig(), workspace)
    rows = [upload(work, copy) for copy, work in enumerate([0, 1, 1, 2, 2])]
    items, media = catalogue([*NAMES, "e"], [row["sha256"] for row in rows])
    for name, table, schema in (("items", items, ITEMS), ("media", media, MEDIA)):
        workspace.write_table(name, table, schema, Recipe({}, {}))
    workspace.write_table("fingerprints", prints(rows), FINGERPRINTS, Recipe({}, {}))
    duplicates.run(RunConfig(), workspace)
    assert popular(workspace, RecommendConfig()) == list("dca")


def test_the_evaluation_hides_what_serving_hides(workspace):
    duplicates.run(RunConfig(), workspace)
    split = Split(plays(), plays().slice(0, 0), interactions("qa qb qc qd", 20), 0, 0)
    for hide, length in ((True, 3), (False, 4)):
        config = RecommendConfig(one_of_each=hide)
        _, lists = lineup.answers(workspace, split, config, 4)[0]
        assert (lists["fused"] >= 0).sum() == length
        assert (lists["popularity"] >= 0).sum() == 4


def test_groups_of_the_workspace_fit_its_vocabulary(workspace):
    duplicates.run(RunConfig(), workspace)
    found = groups(bundle.duplicates_of(workspace), Vocabulary.of(NAMES))
    assert found.tolist() == [0, 1, 1, 3]
