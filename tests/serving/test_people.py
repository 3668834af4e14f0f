"""What is joined of a person's past, what they did since, and their session."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from avrec.interactions import Histories, UserHistories
from avrec.schema import EVENT_KINDS, INTERACTIONS, conform
from avrec.serving.people import People, Taken, Wish
from avrec.serving.state import Live
from avrec.vocab import Vocabulary
from tests.serving.world import START

IDS = ["a", "b", "c", "d"]
LIKE, PLAY, COMPLETE = (1 + EVENT_KINDS.index(kind) for kind in ("like", "play", "complete"))


def rows(*told):
    names = ("item_id", "weight", "at", "kind", "share")
    columns = dict(zip(names, map(list, zip(*told, strict=True)), strict=True))
    columns["at"] = [START + timedelta(hours=hours) for hours in columns["at"]]
    return conform(pa.table({"user_id": ["u"] * len(told), **columns}), INTERACTIONS)


def test_an_item_keeps_its_heavier_kind_its_greater_share_and_its_earlier_time():
    """Of a: played before, liked since; of b: completed before, played since; c: this session."""
    hours = int(START.timestamp() * 1e6) + np.array([1, 2]) * 3_600_000_000
    past = Histories(
        np.array([0, 2]),
        np.array([0, 1], np.int32),
        np.array([0.5, 1.0], np.float32),
        hours,
        np.array([PLAY, COMPLETE], np.int8),
        np.array([np.nan, 1.0], np.float32),
    )
    bundle = SimpleNamespace(
        users=UserHistories(Vocabulary.of(["u"]), past), seen=Histories.of([np.empty(0, np.int32)])
    )
    since = rows(
        ("a", 2.0, 5, "like", 0.4), ("b", 0.5, 6, "play", 0.2), ("d", 0.5, 4, "play", None)
    )
    taken = Taken(since, pa.chunked_array([pa.array([], pa.string())]))
    people = People(bundle, {name: n for n, name in enumerate(IDS)}, lambda _: taken)
    wish = Wish(request_id="r", k=5, at=START + timedelta(hours=9), user_id="u", session=("c",))
    events = pa.table({"item_id": ["a"], "kind": ["like"]})
    found = people.person(wish, Live(events, None)).history
    assert [IDS[row] for row in found.items] == ["a", "b", "d", "c"]
    assert found.kinds.tolist() == [LIKE, COMPLETE, PLAY, 0]
    np.testing.assert_array_equal(found.shares, np.array([0.4, 1.0, np.nan, np.nan], np.float32))
    assert found.weights.tolist() == [2.0, 1.0, 0.5, 1.0]
    assert (np.diff(found.at) > 0).all()
