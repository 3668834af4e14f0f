import json
import socket
import threading
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from avrec.errors import ArtifactError
from avrec.serving.app import ServeArgs, app, open_models
from avrec.serving.auth import SCOPES, create_key
from avrec.store import Workspace
from tests.bundles import write_bundle

LOVED, LIKED, ODD = "loved", "liked", "a/b ?#%2F 🎧"
ITEMS = [{"item_id": i, "title": i.title()} for i in (LOVED, LIKED, ODD)]
PAIRS = [(u, LOVED) for u in "abcd"] + [(u, LIKED) for u in "ab"] + [("a", ODD)]


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    """A real bundle of three items that knows their popularity only."""
    root = tmp_path_factory.mktemp("served")
    workspace = Workspace(str(root / "workspace"))
    write_bundle(workspace, ITEMS, PAIRS)
    return ServeArgs(
        workspace=workspace.uri,
        state=str(root / "live.sqlite"),
        keys=str(root / "keys.json"),
        num_replicas=2,
        deadline_ms=10_000,
        num_cpus=0.1,
    )


def test_a_bundle_that_is_not_there_is_said(args, tmp_path):
    empty = args.model_copy(update={"workspace": str(tmp_path)})
    with pytest.raises(ArtifactError, match="bundle"):
        open_models(empty)


@pytest.fixture
def client(local_ray, args):
    from ray import serve  # noqa: PLC0415

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = create_key(Path(args.keys), SCOPES)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app(args), name="avrec")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        yield client
    serve.shutdown()


def test_the_service_on_serve(client):
    def ids(**ask):
        answer = client.post("/v1/recommendations", json=ask)
        assert answer.status_code == 200, answer.text
        return [item["item_id"] for item in answer.json()["items"]]

    assert client.get("/readyz").json()["status"] == "ok"
    assert ids(user_id="new") == [LOVED, LIKED, ODD]
    assert ids(user_id="b") == [ODD]
    assert ids(user_id="new", k=1, exclude=[LOVED]) == [LIKED]

    events = [{"event_id": "1", "user_id": "new", "item_id": LOVED, "kind": "complete"}]
    events += [{"event_id": "2", "user_id": "new", "item_id": LIKED, "kind": "skip"}]
    answer = client.post("/v1/events", json={"events": [*events, events[0], {"kind": 3}]})
    counts = {name: answer.json()[name] for name in ("accepted", "duplicate", "refused")}
    assert counts == {"accepted": 2, "duplicate": 1, "refused": 1}
    assert ids(user_id="new") == [ODD]
    assert ids(user_id="newer") == [LOVED, LIKED, ODD]

    similar = f"/v1/items/{quote(ODD, safe='')}/similar"
    assert client.get(similar).json()["item_id"] == ODD
    wrong = client.get(similar, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401
    large = client.post("/v1/recommendations", content=json.dumps({"user_id": "x" * 2_000_000}))
    assert large.status_code == 413


def test_a_swap_under_load_loses_no_request(client, args, wait_until):
    first = client.get("/v1/models").json()["active"]
    second = write_bundle(Workspace(args.workspace), ITEMS, PAIRS)
    answers, ended = [], threading.Event()

    def load():
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=30) as mine:
            while not ended.is_set():
                answer = mine.post("/v1/recommendations", json={"user_id": "new", "k": 3})
                answers.append((answer.status_code, answer.json().get("model")))

    def latest(model):
        return len(answers) >= 40 and {found for _, found in answers[-40:]} == {model}

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: latest(first))
        assert client.post(f"/v1/models/{second}/activate").json()["previous"] == first
        wait_until(lambda: latest(second))
        assert client.post("/v1/models/rollback").json()["active"] == first
        wait_until(lambda: latest(first))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
