"""Items put and deleted: replicas on one board, over a real bundle that knows words."""

import json
from datetime import UTC, datetime
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avrec.embed.encoder import EncoderConfig
from avrec.serving.api import create_api
from avrec.serving.app import interpreter
from avrec.serving.auth import READ, SCOPES, Keys, create_key
from avrec.serving.catalogue import Catalogue, Entry, parse, text_of
from avrec.serving.embedder import Desk
from avrec.serving.models import Models
from avrec.serving.service import Service
from avrec.serving.shelf import WorkspaceShelf
from avrec.serving.state_sqlite import SQLiteState
from avrec.store import Workspace
from tests.bundles import ENCODER, write_bundle, write_content
from tests.media.clips import write_clip

WORDS = {"b": "blues guitar slide", "r": "racing cars engine"}
TITLES = {f"{kind}{n}": f"{words} {n}" for kind, words in WORDS.items() for n in range(5)}
ITEMS = [{"item_id": i, "title": t, "tags": [i[0]]} for i, t in TITLES.items()]
PAIRS = [(f"{kind}-fan", f"{kind}{n}") for kind in WORDS for n in range(3)]
BLUES = {"title": "old slide guitar", "tags": ["b"]}
OTHERS = ["picture_moments@1", "sound_moments@1"]


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(str(tmp_path / "workspace"))
    write_content(made, ITEMS, segment_seconds=1.0)
    write_bundle(made, ITEMS, PAIRS, {"content": made.open("content")})
    return made


@pytest.fixture
def desk(board, workspace):
    made = Desk(board, workspace)
    yield made
    made.close()


@pytest.fixture
def replica(board, workspace, tmp_path):
    def make() -> Models:
        state = SQLiteState(tmp_path / "live.sqlite")

        def serve(loaded):
            return Service(loaded, state, interpreter(loaded))

        catalogue = Catalogue(board, [str(tmp_path)])
        return Models(board, WorkspaceShelf(workspace), serve, catalogue)

    return make


@pytest.fixture
def client(replica, tmp_path):
    create = create_key(tmp_path / "keys.json", SCOPES)
    api = create_api(replica(), Keys(tmp_path / "keys.json"))
    return TestClient(api, headers={"Authorization": f"Bearer {create}"})


def listed(client, user="b-fan"):
    answer = client.post("/v1/recommendations", json={"user_id": user, "k": 20})
    assert answer.status_code == 200, answer.text
    return {item["item_id"]: item["sources"] for item in answer.json()["items"]}


def put(client, item_id, **item):
    answer = client.put(f"/v1/items/{quote(item_id, safe='')}", json=item)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "waiting"
    models(client).follow()
    return tell(client, item_id)


def delete(client, item_id):
    answer = client.delete(f"/v1/items/{quote(item_id, safe='')}")
    assert answer.status_code == 200, answer.text
    models(client).follow()
    return answer.json()


def tell(client, item_id):
    return client.get(f"/v1/items/{quote(item_id, safe='')}").json()


def models(client):
    return client.app.state.models


def test_an_item_that_is_put_is_listed_at_once_and_found_when_embedded(client, desk):
    told = put(client, "a/new one", **BLUES)
    assert (told["status"], told["title"]) == ("waiting", "old slide guitar")
    assert told["seconds_to_list"] < 60
    assert listed(client)["a/new one"] == ["popularity"]
    assert desk.work() == 1
    models(client).follow()
    assert "content" in listed(client)["a/new one"]
    assert "a/new one" in list(listed(client))[:3]
    assert tell(client, "a/new one")["status"] == "ready"
    similar = client.get("/v1/items/a%2Fnew%20one/similar?k=3").json()["items"]
    assert {item["item_id"][0] for item in similar} == {"b"}


def test_every_replica_sees_it_and_one_that_starts_later(client, replica, desk, wait_until):
    other = replica()
    other.start()
    put(client, "new", **BLUES)
    wait_until(lambda: other.active.row("new") >= 0)
    delete(client, "b3")
    wait_until(lambda: other.active.row("b3") < 0)
    other.stop()
    later = replica()
    assert (later.active.row("new") >= 0, later.active.row("b3")) == (True, -1)


def test_a_deleted_item_is_nowhere(client):
    assert "b3" in listed(client)
    assert delete(client, "b3")["status"] == "deleted"
    assert "b3" not in listed(client)
    assert client.get("/v1/items/b3/similar").status_code == 404
    similar = client.get("/v1/items/b4/similar?k=20").json()["items"]
    assert "b3" not in [item["item_id"] for item in similar]
    ranked = client.post("/v1/rank", json={"user_id": "b-fan", "items": ["b3", "b4"]}).json()
    assert [item["item_id"] for item in ranked["items"]] == ["b4"]
    assert ranked["unknown"] == ["b3"]
    event = {"event_id": "1", "user_id": "u", "item_id": "b3", "kind": "play"}
    assert client.post("/v1/events", json={"events": [event]}).json()["refused"] == 1
    assert tell(client, "b3")["status"] == "deleted"
    assert client.delete("/v1/items/no such").status_code == 404
    assert client.get("/v1/items/no such").status_code == 404


def test_a_deleted_item_comes_back_when_it_is_put(client):
    delete(client, "b3")
    put(client, "b3", title="again")
    assert listed(client)["b3"]
    assert tell(client, "b3")["title"] == "again"


def test_a_new_bundle_has_the_changes_too(client, workspace):
    put(client, "new", **BLUES)
    delete(client, "b3")
    version = write_bundle(workspace, ITEMS, PAIRS, {"content": workspace.open("content")})
    assert client.post(f"/v1/models/{version}/activate").status_code == 200
    shown = listed(client)
    assert ("new" in shown, "b3" in shown) == (True, False)


def test_an_item_with_a_file_is_listed_when_that_is_embedded(client, desk, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=2)
    told = put(client, "clip", **BLUES, uri=str(clip))
    assert (told["status"], told["seconds_to_list"]) == ("waiting", None)
    assert "clip" not in listed(client)
    desk.work()
    models(client).follow()
    told = tell(client, "clip")
    assert (told["status"], told["error"]) == ("ready", None)
    assert told["seconds_to_list"] > 0
    assert "content" in listed(client)["clip"]
    put(client, "clip", **BLUES, uri=str(clip))
    assert "clip" in listed(client)


def test_a_file_that_is_of_no_use_is_told_as_the_pipeline_tells_it(client, desk, tmp_path):
    (tmp_path / "page.mp4").write_bytes(b"<html>")
    for name, path in (("page", "page.mp4"), ("lost", "lost.mp4")):
        put(client, name, title=name, uri=str(tmp_path / path))
    assert desk.work() == 2
    models(client).follow()
    assert tell(client, "page")["error"].startswith("not_media: ")
    assert tell(client, "lost")["error"].startswith("fetch_failed: ")
    assert not {"page", "lost"} & set(listed(client))


def test_what_is_put_while_it_is_embedded_is_embedded_again(client, desk, board, monkeypatch):
    desk.work()
    embed = desk._embedder.embed

    def interrupted(entry):
        put(client, "new", title="racing cars")
        return embed(entry)

    put(client, "new", **BLUES)
    with monkeypatch.context() as patch:
        patch.setattr(desk._embedder, "embed", interrupted)
        assert desk.work() == 1
    assert parse(board.read("item/new").text).status == "waiting"
    assert desk.work() == 1
    assert parse(board.read("item/new").text).item["title"] == "racing cars"
    assert desk.work() == 0


def test_items_are_embedded_again_for_a_bundle_of_other_encoders(client, desk, board, tmp_path):
    put(client, "new", **BLUES)
    desk.work()
    workspace = desk._workspace
    assert set(parse(board.read("item/new").text).vectors) == {ENCODER, *OTHERS}
    encoders = tuple(EncoderConfig(kind=kind) for kind in ("word_hashes", "sound_moments"))
    write_content(workspace, ITEMS, encoders=encoders)
    only = write_bundle(workspace, ITEMS, PAIRS, {"content": workspace.open("content")})
    models(client).activate(only)
    assert desk.work() == 0
    put(client, "newer", **BLUES)
    desk.work()
    assert set(parse(board.read("item/newer").text).vectors) == {ENCODER, OTHERS[1]}
    models(client).roll_back()
    assert desk.work() == 1
    assert set(parse(board.read("item/newer").text).vectors) == {ENCODER, *OTHERS}


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "file:///etc/passwd", "s3://else/where", "relative.mp4", "{root}/../x"]
)
def test_files_of_other_places_are_refused(client, tmp_path, uri):
    answer = client.put("/v1/items/x", json={"title": "x", "uri": uri.format(root=tmp_path)})
    assert answer.status_code == 422
    assert "media" in answer.json()["error"]["message"]


def test_places_are_told_by_whole_names():
    catalogue = Catalogue(None, ["s3://bucket/media", "/srv/media"])
    assert catalogue.reaches("https://example.org/a.mp4")
    assert catalogue.reaches("s3://bucket/media/a.mp4")
    assert catalogue.reaches("/srv/media/a.mp4")
    for other in ("s3://bucket/media2/a", "s3://bucket/media/../a", "/srv/media2/a"):
        assert not catalogue.reaches(other)


def test_items_are_put_by_admins_only(client, tmp_path):
    key = create_key(tmp_path / "keys.json", [READ])
    reader = TestClient(client.app, headers={"X-API-Key": key})
    assert reader.put("/v1/items/x", json=BLUES).status_code == 403
    assert reader.delete("/v1/items/b0").status_code == 403
    assert reader.get("/v1/items/b0").json()["title"] == TITLES["b0"]


def test_when_it_came_out_stays_unless_said(client):
    at = "2024-05-01T00:00:00Z"
    assert put(client, "new", **BLUES, published_at=at)["published_at"] == at
    assert put(client, "new", **BLUES)["published_at"] == at
    assert put(client, "newer", **BLUES)["published_at"] > at


VALUES = st.none() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=3)
FIELDS = ("title", "uri", "description", "tags", "creator_id", "language", "published_at")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(max_size=30), st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_whatever_is_put_is_taken_or_refused(client, item_id, body):
    path = f"/v1/items/{quote(item_id.encode('utf-8', 'replace'), safe='')}"
    content = json.dumps(body).encode()
    answer = client.put(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200:
        assert client.get(path).status_code == 200
        assert listed(client)
    assert client.delete(path).status_code < 500


def test_an_entry_is_read_back():
    vectors = {"a@1": np.array([1.5, -2], np.float32), "b@1": np.empty(0, np.float32)}
    now = datetime(2024, 1, 1, tzinfo=UTC).isoformat()
    entry = Entry(item_id="é\0", status="ready", put_at=now, item=BLUES, vectors=vectors)
    again = parse(text_of(entry))
    for name, vector in vectors.items():
        np.testing.assert_array_equal(again.vectors[name], vector)
    assert (again.item, again.item_id) == (BLUES, "é\0")
