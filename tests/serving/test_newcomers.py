"""Of whom nothing is known: what they say, where they are, what is new."""

from datetime import UTC, datetime, timedelta

import pytest

from avrec.recommend import RecommendConfig
from avrec.serving.app import ServeArgs, open_models
from avrec.store import Workspace
from tests.bundles import write_bundle
from tests.serving.test_api import ask, ids

NOW = datetime.now(UTC)
ITEMS = [
    {
        "item_id": f"{tag}{n}",
        "title": f"{tag} {n}",
        "tags": [tag],
        "creator_id": f"maker of {tag}",
        "language": {"jazz": "en", "folk": "de"}[tag],
        "published_at": NOW - timedelta(days=1 if n == 3 else 400),
    }
    for tag in ("jazz", "folk")
    for n in range(4)
]
PAIRS = [(f"u{n}", "jazz0") for n in range(300)] + [(f"v{n}", "folk0") for n in range(200)]


@pytest.fixture
def models(tmp_path):
    """A bundle that knows no models but what is popular, what is new and who made what."""
    workspace = Workspace(str(tmp_path / "workspace"))
    config = RecommendConfig(sources=("fresh", "creators"))
    write_bundle(workspace, ITEMS, PAIRS, recommend=config)
    state, keys = str(tmp_path / "live.sqlite"), str(tmp_path / "keys.json")
    return open_models(ServeArgs(workspace=workspace.uri, state=state, keys=keys))


def reasons(answer):
    return {item["item_id"]: item["reason"] for item in answer["items"]}


def test_nobody_gets_what_is_popular_and_what_is_new(client):
    said = reasons(ask(client))
    assert said["jazz0"] == "Popular with listeners"
    assert said["jazz3"] == said["folk3"] == "New"


def test_a_language_has_its_own_favourites(client):
    answer = ask(client, context={"language": "de"})
    assert [i for i in ids(answer) if i.endswith("0")] == ["folk0", "jazz0"]
    assert [i for i in ids(ask(client)) if i.endswith("0")] == ["jazz0", "folk0"]
    assert reasons(answer)["folk0"] == 'Popular with listeners of "de"'
    assert "popularity_by_segment" in answer["items"][0]["sources"]


def test_stated_likes_lead_and_what_is_unknown_of_them_is_told(client):
    likes = {"tags": ["folk", "polka"], "items": ["jazz1", "x"], "creators": ["y"]}
    answer = ask(client, context={"likes": likes})
    said = reasons(answer)
    assert said["folk3"] == "New in folk"
    assert said["folk0"] == 'Because you like "folk"'
    assert said["jazz3"] == "New from a creator you like"
    assert "jazz1" not in said
    assert answer["unknown"] == ["x", "polka", "y"]


def test_what_a_newcomer_does_is_known_at_once(client):
    event = {"event_id": "1", "user_id": "new", "item_id": "folk1", "kind": "complete"}
    assert client.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    said = reasons(ask(client, user_id="new"))
    assert "folk1" not in said
    assert said["folk3"] == "New from a creator you like"
    assert said["folk0"] == "From a creator you like"


def test_candidates_are_ranked_by_what_is_stated(client):
    context = {"likes": {"tags": ["folk"]}}
    body = {"items": ["jazz1", "folk2", "jazz2", "folk1"], "context": context}
    answer = client.post("/v1/rank", json=body).json()
    assert sorted(ids(answer)[:2]) == ["folk1", "folk2"]
