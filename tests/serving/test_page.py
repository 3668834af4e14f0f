import io
import json
import wave
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from avrec.media.thumbnail import jpeg
from avrec.media.thumbnail import wave as wave_of
from avrec.schema import MEDIA, THUMBNAILS
from avrec.serving.api import create_api
from avrec.serving.auth import EVENTS, READ, Keys, create_key, grants, revoke_key
from avrec.serving.page.gallery import Gallery
from avrec.serving.page.session import PAGE, SECONDS, token
from tests.serving import world
from tests.serving.world import BLUE_FAN, ODD, RED_FAN

HEADER = {PAGE: "1"}
JPEG = jpeg(wave_of(np.sin(np.arange(8000) * 0.01).astype(np.float32)))


def sound(seconds=1.0):
    """A WAV file of a tone."""
    out = io.BytesIO()
    tone = np.sin(np.arange(int(8000 * seconds)) * 0.2) * 20_000
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone.astype("<i2").tobytes())
    return out.getvalue()


def gallery(folder):
    """b0 and an odd id sound; b1 could not be read; b2 lies elsewhere; r0 has a picture only."""
    (folder / "tone.wav").write_bytes(sound())
    (folder / "secret").write_text("secret")
    files = [("b0", "tone.wav", None), (ODD[0], "tone.wav", None), ("b1", "secret", "no media")]
    rows = [
        {"item_id": i, "uri": str(folder / name), "kind": "audio", "error": error}
        | {"duration_seconds": 1.0}
        for i, name, error in files
    ]
    rows.append({"item_id": "b2", "uri": "https://elsewhere.example/x.mp4", "kind": "video"})
    pictures = [{"item_id": i, "image": JPEG} for i in ("b0", "r0")]
    return Gallery(
        pa.Table.from_pylist(rows, schema=MEDIA), pa.Table.from_pylist(pictures, schema=THUMBNAILS)
    )


@pytest.fixture
def api(models, key, tmp_path):
    made = gallery(tmp_path)
    return create_api(models, Keys(tmp_path / "keys.json"), read_gallery=lambda: made)


@pytest.fixture
def visitor(api, key):
    """A browser in a session."""
    browser = TestClient(api)
    entered = browser.post("/page/session", headers={"Authorization": f"Bearer {key}"})
    assert entered.status_code == 204
    return browser


def test_the_page_asks_for_no_key_and_allows_only_what_is_its_own(api):
    for path, kind in (("/", "text/html"), ("/page/page.js", "text/javascript")):
        answer = TestClient(api).get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    text = TestClient(api).get("/").text
    assert "<script>" not in text
    assert "style=" not in text


def test_a_session_reads_without_a_key_and_is_no_secret_of_scripts(visitor, api):
    assert visitor.get("/page/status").json()["model"] == "v1"
    assert visitor.get("/page/people", params={"q": "an"}).json() == [BLUE_FAN]
    cookie = TestClient(api).post(
        "/page/session",
        headers={"X-API-Key": visitor.cookies["avrec_session"]},
    )
    assert cookie.status_code == 401
    visitor.post("/page/leave", headers=HEADER)
    assert visitor.get("/page/status").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(api, key):
    def cookie(**headers):
        given = {"Authorization": f"Bearer {key}"} | headers
        return TestClient(api).post("/page/session", headers=given).headers["set-cookie"].lower()

    assert {"httponly", "samesite=strict"} <= set(cookie().replace(" ", "").split(";"))
    assert "secure" not in cookie()
    assert "secure" in cookie(**{"X-Forwarded-Proto": "https"})


def test_a_session_alone_changes_nothing(visitor):
    for path in ("/v1/events", "/v1/recommendations", "/page/items", "/page/session"):
        assert visitor.post(path, json={"items": []}).status_code == 401
    assert visitor.post("/v1/recommendations", json={}, headers=HEADER).status_code == 200


def test_a_session_ends_with_its_key_or_its_time(api, visitor, tmp_path):
    keys = Keys(tmp_path / "keys.json")
    [grant] = grants(tmp_path / "keys.json")
    late = TestClient(api, cookies={"avrec_session": token(keys, grant.key_id, 1_000)})
    assert late.get("/page/status").status_code == 401
    other = token(keys, grant.key_id, 10**11).replace(grant.key_id, "0" * 12)
    for value in (other, "a.b.c", "", "..", "é", "x" * 5000):
        forged = TestClient(api, headers={"Cookie": f"avrec_session={value}".encode()})
        assert forged.get("/page/status").status_code == 401
    revoke_key(tmp_path / "keys.json", grant.key_id)
    assert visitor.get("/page/status").status_code == 401
    assert SECONDS <= 24 * 3600


def test_a_session_may_what_its_key_may(api, tmp_path):
    reader = TestClient(api)
    key = create_key(tmp_path / "keys.json", [READ])
    reader.post("/page/session", headers={"X-API-Key": key})
    event = {"event_id": "1", "user_id": "u", "item_id": "b0", "kind": "play"}
    answer = reader.post("/v1/events", json={"events": [event]}, headers=HEADER)
    assert answer.status_code == 403


def test_people_of_a_tenant_are_its_own(visitor, api, tmp_path):
    key = create_key(tmp_path / "keys.json", [READ, EVENTS], tenant="acme")
    theirs = TestClient(api, headers={"X-API-Key": key})
    assert visitor.get("/page/people").json() == [BLUE_FAN, RED_FAN]
    assert theirs.get("/page/people").json() == []
    assert visitor.get(f"/page/people/{BLUE_FAN}").json()["history"]
    assert theirs.get(f"/page/people/{BLUE_FAN}").json()["history"] == []


def test_a_history_is_as_of_now_latest_first(visitor):
    event = {"event_id": "1", "user_id": RED_FAN, "item_id": "r5", "kind": "complete"}
    assert visitor.post("/v1/events", json={"events": [event]}, headers=HEADER).json()["accepted"]
    answer = visitor.get(f"/page/people/{quote(RED_FAN)}").json()
    assert [item["item_id"] for item in answer["history"]] == ["r5", "r0"]
    assert answer["history"][0]["title"] == "Title of r5"
    for wrong in ("x" * 600, "acme%1fann"):
        assert visitor.get(f"/page/people/{wrong}").status_code == 404


def test_media_come_whole_or_in_the_range_asked_for(visitor):
    whole = sound()
    for item_id in ("b0", ODD[0]):
        answer = visitor.get(f"/page/media/{quote(item_id, safe='')}")
        assert (answer.status_code, answer.content) == (200, whole)
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
    asked = {"bytes=0-9": whole[:10], "bytes=40-": whole[40:], "bytes=-5": whole[-5:]}
    asked["bytes=10-99999999"] = whole[10:]
    for span, bytes_ in asked.items():
        answer = visitor.get("/page/media/b0", headers={"Range": span})
        assert (answer.status_code, answer.content) == (206, bytes_)
        first, last = answer.headers["content-range"].split(" ")[1].split("/")[0].split("-")
        assert int(last) - int(first) + 1 == len(bytes_)
    beyond = visitor.get("/page/media/b0", headers={"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416
    assert str(len(whole)) in beyond.json()["error"]["message"]


def test_nothing_but_media_of_the_catalogue_is_given_out(visitor, api, tmp_path):
    for item_id in ("b1", "b2", "b3", "../secret", str(tmp_path / "secret"), "%00", "nope"):
        assert visitor.get(f"/page/media/{quote(item_id, safe='%')}").status_code == 404
    assert TestClient(api).get("/page/media/b0").status_code == 401
    assert TestClient(api).get("/page/pictures/b0").status_code == 401


def test_a_file_that_went_away_is_not_found(visitor, tmp_path):
    (tmp_path / "tone.wav").unlink()
    assert visitor.get("/page/media/b0").status_code == 404


def test_cards_say_what_can_be_seen_and_played(visitor):
    asked = {"items": ["b0", "b1", "r0", "no such"]}
    told = visitor.post("/page/items", json=asked, headers=HEADER).json()
    assert [one["item_id"] for one in told] == ["b0", "b1", "r0"]
    assert [one["kind"] for one in told] == ["audio", None, None]
    assert [one["pictured"] for one in told] == [True, False, True]
    assert visitor.get("/page/pictures/r0").content == JPEG
    assert visitor.get("/page/pictures/b3").status_code == 404


def test_status_counts_requests_and_tells_the_stages(visitor):
    visitor.post("/v1/recommendations", json={}, headers=HEADER)
    told = visitor.get("/page/status").json()
    assert told["requests"] >= 2
    assert told["failed"] == 0
    stage = told["stages"]["recommend"]
    assert stage["count"] == stage["buckets"][-1] == 1
    assert json.dumps(told)


def test_another_version_that_is_here_lists_beside_and_nothing_is_stored(visitor, models, service):
    models.shelf.bundles["v2"] = world.bundle("v2")
    asked = {"version": "v2", "user_id": BLUE_FAN, "k": 3}
    assert visitor.post("/page/beside", json=asked, headers=HEADER).status_code == 404
    models.activate("v2", 0.5)
    assert visitor.get("/page/status").json()["versions"] == ["v1", "v2"]
    told = visitor.post("/page/beside", json=asked, headers=HEADER).json()
    assert [item["item_id"] for item in told] == ["b2", "b3", "b4"]
    assert service.state.seal(9) is None
