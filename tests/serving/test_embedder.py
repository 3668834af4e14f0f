"""Items put to a service on Serve are embedded as the pipeline embeds."""

import socket
from pathlib import Path

import httpx
import numpy as np
import pytest

from avrec.config import RunConfig
from avrec.embed import pool
from avrec.embed.encoder import EmbedConfig
from avrec.media.files import MediaConfig
from avrec.media.limits import Limits
from avrec.schema import EMBEDDINGS, ITEMS
from avrec.serving.app import ServeArgs, app
from avrec.serving.auth import SCOPES, create_key
from avrec.serving.catalogue import Entry
from avrec.serving.embedder import Embedder, EmbedderArgs
from avrec.serving.embedder import app as embedder_app
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from jobs import embed, probe
from tests.bundles import write_bundle, write_content
from tests.media.clips import tone, write_clip, write_sound

ITEM_ROWS = [{"item_id": f"i{n}", "title": f"blues {n}"} for n in range(4)]


def test_vectors_are_those_of_the_pipeline(local_ray, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "clip of a test.mp4", seconds=3)
    write_sound(folder / "low.wav", tone(1, 110))
    config = RunConfig(
        media=MediaConfig(inputs=(str(folder),), num_actors=1),
        embed=EmbedConfig(segment_seconds=1, num_actors=1),
    )
    workspace = Workspace(str(tmp_path / "workspace"))
    probe.run(config, workspace)
    embed.run(config, workspace)
    vocabulary = Vocabulary.of(["clip of a test.mp4", "low.wav"])
    pooling = pool.Pooling(vocabulary)
    pooling.add(workspace.read_table("embeddings", EMBEDDINGS))
    expected = {name: sums.means() for name, sums in pooling._sums.items()}
    one = Embedder(config.embed, Limits())
    for row, item in enumerate(workspace.read_table("items", ITEMS).to_pylist()):
        item_id = item.pop("item_id")
        entry = one.embed(Entry(item_id=item_id, status="waiting", put_at="", item=item))
        assert (entry.status, entry.good_uri) == ("ready", item["uri"])
        assert entry.kind == ("video" if item_id.endswith("mp4") else "audio")
        for name, vector in entry.vectors.items():
            found = vector if len(vector) else np.zeros(expected[name].shape[1])
            np.testing.assert_allclose(found, expected[name][row], atol=1e-6)
    one.close()


@pytest.fixture
def client(local_ray, tmp_path):
    from ray import serve  # noqa: PLC0415

    workspace = Workspace(str(tmp_path / "workspace"))
    write_content(workspace, ITEM_ROWS)
    pairs = [("fan", "i0"), ("fan", "i1")]
    write_bundle(workspace, ITEM_ROWS, pairs, {"content": workspace.open("content")})
    where = {"workspace": workspace.uri, "state": str(tmp_path / "live.sqlite")}
    keys, media = str(tmp_path / "keys.json"), [str(tmp_path)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = create_key(Path(keys), SCOPES)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(embedder_app(EmbedderArgs(**where)), name="embedder", route_prefix=None)
    serve.run(app(ServeArgs(**where, keys=keys, media=media, num_cpus=0.1)), name="avrec")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        yield client
    serve.shutdown()


def test_an_item_with_a_file_is_listed_when_it_is_embedded(client, tmp_path, wait_until):
    clip = write_clip(tmp_path / "clip.mp4", seconds=2)
    (tmp_path / "page.mp4").write_bytes(b"<html>")
    for name, path in (("new", clip), ("page", tmp_path / "page.mp4")):
        body = {"title": "blues again", "uri": str(path)}
        assert client.put(f"/v1/items/{name}", json=body).json()["status"] == "waiting"
    wait_until(lambda: client.get("/v1/items/page").json()["status"] == "failed")
    wait_until(lambda: client.get("/v1/items/new").json()["seconds_to_list"] is not None)
    answer = client.post("/v1/recommendations", json={"user_id": "fan"}).json()
    shown = {item["item_id"]: item["sources"] for item in answer["items"]}
    assert "content" in shown["new"]
    assert "page" not in shown
