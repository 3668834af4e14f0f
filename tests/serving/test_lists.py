"""Lists in time: what hangs is left out and told, and nobody waits for it."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from fastapi.testclient import TestClient

from avrec.factors import Factors
from avrec.models import popularity
from avrec.models.features import knowledge
from avrec.recommend import Recommender
from avrec.schema import INTERACTIONS
from avrec.serving.api import create_api
from avrec.serving.auth import SCOPES, Keys, create_key
from avrec.serving.lists import Deadlines
from avrec.serving.state import StateError
from tests.serving import world
from tests.serving.test_api import event, ids, post
from tests.serving.world import BLUE_FAN, IDS, RED_FAN, FakeShelf


@dataclass
class Door:
    """Lets nobody through until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)

    def wait(self):
        assert self.opened.wait(20)


@pytest.fixture
def door():
    made = Door()
    yield made
    made.opened.set()


@pytest.fixture
def models(tmp_path, request):
    """The world's own, or one whose recommender has a source behind the door."""
    shelf = FakeShelf("v1")
    if getattr(request, "param", False):
        made = shelf.bundles["v1"]
        made.recommender = recommender(made, request.getfixturevalue("door"))
    return world.models(tmp_path / "live.sqlite", shelf)


@pytest.fixture
def client(api, key, door):
    """One loop for all requests, whose threads are let go before it ends."""
    with TestClient(api, headers={"Authorization": f"Bearer {key}"}) as made:
        yield made
        door.opened.set()


@dataclass
class Kind:
    """Likes what is of the kind of the history; asks at a door first, where there is one."""

    name: str
    items: Factors
    door: Door | None = None

    def user_vectors(self, histories):
        if self.door:
            self.door.wait()
        return np.asarray(histories.matrix(len(IDS)) @ self.items.vectors, np.float32)


def recommender(bundle, door):
    """Knows kinds twice: "als" at once, "content" when the door is open."""
    vectors = np.eye(2, dtype=np.float32)[[int(i[0] == "r") for i in IDS]]
    factors = Factors(bundle.vocabulary, vectors)
    popular = popularity.fit(INTERACTIONS.empty_table(), bundle.vocabulary)
    known = knowledge(bundle.items, INTERACTIONS.empty_table())
    models = [Kind("als", factors), Kind("content", factors, door), popular]
    return Recommender(bundle.vocabulary, IDS, models, known)


def hang(state, name, door, monkeypatch):
    really = getattr(state, name)

    def slow(*args):
        door.wait()
        return really(*args)

    monkeypatch.setattr(state, name, slow)


def ask(client, path="recommendations", **body):
    answer = client.post(f"/v1/{path}", json={"deadline_ms": 500} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_state_that_hangs_is_not_waited_for(client, service, door, monkeypatch, wait_until):
    post(client, event("1", user_id=RED_FAN, item_id="r5", kind="complete"))
    hang(service.state, "live", door, monkeypatch)
    answer = ask(client, user_id=RED_FAN, k=20)
    assert answer["degraded"] == ["state"]
    assert "r1" not in ids(answer)
    assert ids(answer)[0] == "r2"
    ranked = ask(client, "rank", user_id=RED_FAN, items=["b1", "r1", "r2"])
    assert ranked["degraded"] == ["state"]
    assert ids(ranked) == ["r2", "b1"]
    text = client.get("/metrics").text
    assert 'avrec_degraded_lists_total{lacked="state"} 2.0' in text
    door.opened.set()
    patient = {"user_id": RED_FAN, "k": 20, "deadline_ms": 60_000}
    wait_until(lambda: not ask(client, **patient)["degraded"])  # while one read ends none begins
    assert "r5" not in ids(ask(client, **patient))
    assert "avrec_unlogged_lists_total 0.0" in text


def test_what_is_shown_while_the_state_is_away_is_stored_when_it_is_back(
    client, service, monkeypatch
):
    def away(_):
        raise StateError("no such file")

    monkeypatch.setattr(service.state, "live", away)
    shown = [ask(client, user_id=RED_FAN, k=k)["request_id"] for k in (1, 2, 3)]
    assert "avrec_waiting_lists 3.0" in client.get("/metrics").text
    assert service.state.seal(99) is None
    monkeypatch.undo()
    shown += [ask(client, user_id=RED_FAN, k=1)["request_id"] for _ in range(2)]
    text = client.get("/metrics").text
    assert "avrec_waiting_lists 0.0" in text
    assert "avrec_unlogged_lists_total 0.0" in text
    stored = service.state.seal(99).served["request_id"].to_pylist()
    assert sorted(set(stored)) == sorted(shown)
    assert len(stored) == 1 + 2 + 3 + 1 + 1


def test_what_is_similar_is_not_waited_for_for_ever(client, service, door, monkeypatch):
    hang(service.bundle.recommender, "similar", door, monkeypatch)
    answer = client.get("/v1/items/b0/similar", params={"deadline_ms": 50}).json()
    assert (answer["items"], answer["degraded"]) == ([], ["similar"])
    assert 'avrec_degraded_lists_total{lacked="similar"} 1.0' in client.get("/metrics").text
    door.opened.set()
    whole = client.get("/v1/items/b0/similar").json()
    assert (len(whole["items"]), whole["degraded"]) == (10, [])
    assert client.get("/v1/items/b0/similar", params={"deadline_ms": 0}).status_code == 422


@pytest.mark.parametrize("models", [True], indirect=True)
def test_what_other_sources_found_is_listed_where_one_hangs(client, door):
    answer = ask(client, user_id=BLUE_FAN, k=3)
    assert answer["degraded"] == ["content"]
    assert ids(answer) == ["b2", "b3", "b4"]
    assert "als" in answer["items"][0]["sources"]
    assert "content" in ask(client, user_id="nobody", k=3)["degraded"]
    door.opened.set()
    whole = ask(client, user_id=BLUE_FAN, k=3, deadline_ms=60_000)
    assert whole["degraded"] == []
    assert whole["items"][0]["sources"] == ["als", "content", "popularity"]


@pytest.mark.parametrize("models", [True], indirect=True)
def test_a_list_that_hung_is_logged_once_as_it_was_shown(client, service, door, wait_until):
    answer = ask(client, user_id=BLUE_FAN, k=3)
    door.opened.set()
    wait_until(lambda: 'stage="log"' in client.get("/metrics").text)
    whole = ask(client, user_id=BLUE_FAN, k=2, deadline_ms=60_000)
    logged = service.state.seal(99).served.to_pylist()
    assert [row["request_id"] for row in logged] == [answer["request_id"]] * 3 + [
        whole["request_id"]
    ] * 2


def test_a_list_is_not_waited_for_until_it_is_logged(client, service, door, monkeypatch):
    hang(service.state, "log_served", door, monkeypatch)
    answer = ask(client, user_id=BLUE_FAN, k=3)
    assert answer["degraded"] == []
    assert ids(answer) == ["b2", "b3", "b4"]


def test_without_the_state_lists_come_from_the_bundle(client, service, monkeypatch, caplog):
    post(client, event("1", user_id="x", item_id="r0", kind="like"))
    client.delete(f"/v1/users/{BLUE_FAN}")
    assert ids(ask(client, user_id=BLUE_FAN, k=1, deadline_ms=60_000)) == ["b0"]

    def broken(*_):
        raise StateError("no such file")

    for name in ("live", "log_served"):
        monkeypatch.setattr(service.state, name, broken)
    answer = ask(client, user_id=RED_FAN, k=2, deadline_ms=60_000)
    assert answer["degraded"] == ["state"]
    assert ids(answer) == ["r2", "r3"]
    assert ids(ask(client, user_id=BLUE_FAN, k=1, deadline_ms=60_000)) == ["b0"]
    assert [r for r in caplog.messages if "no such file" in r] == [
        "lists are made without live events: no such file"
    ]
    [line, _] = [r for r in caplog.messages if r.startswith("list degraded")]
    assert f"request={answer['request_id']}" in line
    assert "without=state history=" in line
    assert RED_FAN not in caplog.text


def test_a_request_may_not_ask_for_more_time_than_there_is(models, tmp_path, door, monkeypatch):
    key = create_key(tmp_path / "keys.json", SCOPES)
    api = create_api(
        models, Keys(tmp_path / "keys.json"), deadlines=Deadlines(default_ms=20, max_ms=50)
    )
    hang(models.active.state, "live", door, monkeypatch)
    with TestClient(api, headers={"Authorization": f"Bearer {key}"}) as client:
        assert ask(client, user_id="u", deadline_ms=600_000)["degraded"] == ["state"]
        assert client.post("/v1/recommendations", json={"user_id": "u"}).json()["degraded"]
        for wrong in (0, -1, 600_001, "soon", 1.5):
            answer = client.post("/v1/recommendations", json={"deadline_ms": wrong})
            assert answer.status_code == 422
        door.opened.set()
    with pytest.raises(ValueError, match="default_ms"):
        Deadlines(default_ms=60, max_ms=50)
