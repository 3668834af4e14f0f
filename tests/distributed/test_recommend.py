import numpy as np
import pyarrow.parquet as pq
import pytest

from avrec.distributed.recommend import _Lister
from avrec.recommend import RecommendConfig
from avrec.rerank import RerankConfig
from avrec.schema import RECOMMENDATIONS
from avrec.store import Workspace, place
from tests.bundles import write_bundle

ITEMS = [{"item_id": f"i{n}", "title": f"Title {n}"} for n in range(9)]
PAIRS = [("ann", "i0"), ("bob", "i1"), ("bob", "i2"), ("cy", "i3")]
AT = 1_700_000_000_000_000
BLOCKS = {"both": [0, 1], "alone": [1]}


def lists(folder, explore, users):
    """Lists of four items for some of the users, as one block writes them."""
    workspace = Workspace(str(folder / "workspace"))
    config = RecommendConfig(rerank=RerankConfig(explore=explore, temperature=5))
    write_bundle(workspace, ITEMS, PAIRS, recommend=config)
    lister = _Lister(workspace.open("bundle"), place(str(folder / "lists")), 4, AT)
    [name] = lister({"id": np.array(users)})["name"]
    return pq.read_table(folder / "lists" / name)


@pytest.mark.parametrize(("explore", "policy"), [("none", ""), ("softmax", "+softmax_5_of_50")])
def test_lists_tell_how_each_place_was_filled(tmp_path, explore, policy):
    table = lists(tmp_path, explore, [0, 1])
    assert table.schema.equals(RECOMMENDATIONS)
    assert table["user_id"].to_pylist() == ["ann"] * 4 + ["bob"] * 4
    assert table["request_id"].to_pylist() == [f"batch-{AT}-ann"] * 4 + [f"batch-{AT}-bob"] * 4
    assert table["rank"].to_pylist() == [1, 2, 3, 4] * 2
    assert set(table["policy"].to_pylist()) == {f"rank_fusion{policy}"}
    propensities = table["propensity"].to_numpy()
    assert (propensities == 1).all() == (explore == "none")
    assert ((propensities > 0) & (propensities <= 1)).all()
    assert not {"i1", "i2"} & set(table["item_id"].to_pylist()[4:])


def test_blocks_do_not_change_what_is_drawn(tmp_path):
    both, alone = (lists(tmp_path / name, "softmax", users) for name, users in BLOCKS.items())
    for name in ("item_id", "propensity", "request_id"):
        assert both[name].to_pylist()[4:] == alone[name].to_pylist()
