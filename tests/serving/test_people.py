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
    nothing = pa.table({name: pa.array([], pa.string()) for name in ("user_id", "item_id")})
    taken = Taken(since, nothing)
    people = People(bundle, {name: n for n, name in enumerate(IDS)}, lambda _: taken)
    wish = Wish(request_id="r", k=5, at=START + timedelta(hours=9), user_id="u", session=("c",))
    events = pa.table({"item_id": ["a"], "kind": ["like"]})
    [person] = people.persons([(wish, Live(events, None))])
    found = person.history
    assert [IDS[row] for row in found.items] == ["a", "b", "d", "c"]
    assert found.kinds.tolist() == [LIKE, COMPLETE, PLAY, 0]
    np.testing.assert_array_equal(found.shares, np.array([0.4, 1.0, np.nan, np.nan], np.float32))
    assert found.weights.tolist() == [2.0, 1.0, 0.5, 1.0]
    assert (np.diff(found.at) > 0).all()


def test_what_several_did_is_told_in_one_go_and_each_has_their_own():
    users = UserHistories(Vocabulary.of([]), Histories.of([]))
    bundle = SimpleNamespace(users=users, seen=Histories.of([]))
    both = pa.concat_tables(
        [
            rows(("a", 1.0, 1, "like", None)),
            rows(("b", 1.0, 1, "play", None), ("x", 1.0, 2, "play", None)),
        ]
    ).set_column(0, "user_id", pa.array(["ann", "bob", "bob"]))
    asked = []

    def interpret(events):
        asked.append(events["user_id"].to_pylist())
        return Taken(both, pa.table({"user_id": ["bob"], "item_id": ["c"]}))

    people = People(bundle, {name: n for n, name in enumerate(IDS)}, interpret)
    wishes = [Wish(request_id=u, k=5, at=START, user_id=u) for u in ("bob", "eve", "ann")]
    lives = [
        Live(pa.table({"user_id": [u], "item_id": ["d"], "kind": [kind]}), None)
        for u, kind in (("bob", "skip"), ("eve", "play"), ("ann", "like"))
    ]
    bob, eve, ann = people.persons(list(zip(wishes, lives, strict=True)))
    assert asked == [["bob", "eve", "ann"]]
    assert [p.history.items.tolist() for p in (bob, eve, ann)] == [[1], [], [0]]
    assert [p.finished.tolist() for p in (bob, eve, ann)] == [[2], [], []]
    assert [p.refused.tolist() for p in (bob, eve, ann)] == [[3], [], []]
