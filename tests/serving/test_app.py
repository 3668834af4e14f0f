import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest

from avrec import bundle
from avrec.errors import ArtifactError
from avrec.feedback import FeedbackConfig
from avrec.recommend import RecommendConfig
from avrec.schema import DUPLICATES, INTERACTIONS, ITEMS, MEDIA
from avrec.serving.app import ServeArgs, app, open_service
from avrec.serving.auth import create_key
from avrec.store import Workspace

AT = datetime(2024, 1, 1, tzinfo=UTC)
LOVED, LIKED, ODD = "loved", "liked", "a/b ?#%2F 🎧"


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    """A real bundle of three items that knows their popularity only."""
    root = tmp_path_factory.mktemp("served")
    workspace = Workspace(str(root / "workspace"))
    items = [{"item_id": i, "title": i.title()} for i in (LOVED, LIKED, ODD)]
    pairs = [(u, LOVED) for u in "abcd"] + [(u, LIKED) for u in "ab"] + [("a", ODD)]
    liked = [{"user_id": u, "item_id": i, "weight": 1.0, "at": AT} for u, i in pairs]
    contents = bundle.Contents(
        items=pa.Table.from_pylist(items, schema=ITEMS),
        interactions=pa.Table.from_pylist(liked, schema=INTERACTIONS),
        seen=bundle.SEEN.empty_table(),
        media=MEDIA.empty_table(),
        duplicates=DUPLICATES.empty_table(),
        models={},
        recommend=RecommendConfig(),
        feedback=FeedbackConfig(),
    )
    with workspace.create("bundle", workspace.recipe({})) as draft:
        bundle.write(draft, contents)
    return ServeArgs(
        workspace=workspace.uri, state=str(root / "live.sqlite"), keys=str(root / "keys.json")
    )


def test_a_bundle_that_is_not_there_is_said(args, tmp_path):
    empty = args.model_copy(update={"workspace": str(tmp_path)})
    with pytest.raises(ArtifactError, match="bundle"):
        open_service(empty)


@pytest.fixture
def client(local_ray, args):
    from ray import serve  # noqa: PLC0415

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = create_key(Path(args.keys))
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
    assert 'avrec_events_total{status="accepted"} 2.0' in client.get("/metrics").text
