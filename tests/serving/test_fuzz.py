"""Whatever is sent, the answer is of one of the shapes that the interface promises, never a 5xx."""

import json
from urllib.parse import quote

from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avrec.schema import EVENT_KINDS
from tests.serving.states import take
from tests.serving.world import IDS

fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
ID = st.sampled_from(IDS) | TEXT | st.text(max_size=600) | ANY
IDS_OR_NOT = st.lists(ID, max_size=3) | ANY
LIKES = st.fixed_dictionaries(
    {}, optional={"items": IDS_OR_NOT, "tags": IDS_OR_NOT, "creators": IDS_OR_NOT}
)
CONTEXT = (
    st.fixed_dictionaries(
        {}, optional={"session": st.lists(ID, max_size=3), "likes": LIKES | ANY, "language": ID}
    )
    | ANY
)
DEADLINE = st.integers(-1, 20) | st.integers() | ANY
ASK = st.fixed_dictionaries(
    {},
    optional={
        "user_id": ID,
        "k": st.integers(-1, 600) | ANY,
        "exclude": IDS_OR_NOT,
        "context": CONTEXT,
        "deadline_ms": DEADLINE,
    },
)
RANK = st.fixed_dictionaries(
    {"items": st.lists(ID, max_size=5) | ANY},
    optional={
        "user_id": ID,
        "k": st.integers(-1, 600) | ANY,
        "context": CONTEXT,
        "deadline_ms": DEADLINE,
    },
)
AT = st.datetimes().map(str) | st.datetimes().map(lambda t: f"{t.isoformat()}Z") | ANY
EVENT = st.fixed_dictionaries(
    {
        "event_id": ID,
        "user_id": ID,
        "item_id": st.sampled_from(IDS),
        "kind": st.sampled_from(EVENT_KINDS) | ANY,
    },
    optional={"at": AT, "position_seconds": st.floats() | ANY, "value": ANY, "request_id": ID},
)
BATCH = st.fixed_dictionaries({"events": st.lists(EVENT | ANY, max_size=4)}) | ANY


def send(client, path, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    check(answer)
    return answer


def check(answer):
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["kind"]
        assert error["message"]


@fuzz
@given(ASK | ANY)
def test_any_ask(client, body):
    answer = send(client, "/v1/recommendations", body)
    if answer.status_code == 200:
        shown = [item["item_id"] for item in answer.json()["items"]]
        assert len(shown) == len(set(shown)) <= body.get("k", 10)
        assert not set(shown) & set(body.get("exclude", []))


@fuzz
@given(RANK | ANY)
def test_any_candidates(client, body):
    answer = send(client, "/v1/rank", body)
    if answer.status_code == 200:
        shown = [item["item_id"] for item in answer.json()["items"]]
        left = [one["item_id"] for one in answer.json()["left_out"]]
        assert len({*shown, *left}) == len(shown) + len(left)
        assert {*shown, *left} <= set(body["items"])


@fuzz
@given(BATCH)
def test_any_batch_is_accounted_for(client, service, body):
    take(service.state)
    answer = send(client, "/v1/events", body)
    accepted = 0
    if answer.status_code == 200:
        receipt = answer.json()
        accepted = receipt["accepted"]
        assert len(receipt["events"]) == len(body["events"])
        assert sum(receipt[s] for s in ("accepted", "duplicate", "refused")) == len(body["events"])
        assert all(v["reason"] for v in receipt["events"] if v["status"] != "accepted")
        for verdict, sent in zip(receipt["events"], body["events"], strict=True):
            if verdict["status"] != "refused":  # whoever may send events may also be answered
                send(client, "/v1/recommendations", {"user_id": sent["user_id"], "k": 3})
    assert len(take(service.state)) == accepted


@fuzz
@given(st.binary(max_size=200), st.sampled_from(["/v1/recommendations", "/v1/rank", "/v1/events"]))
def test_any_bytes(client, content, path):
    send(client, path, content)


@fuzz
@given(st.text(max_size=30), st.text(max_size=8))
def test_any_item_and_k(client, item_id, k):
    safe = quote(item_id.encode("utf-8", "replace"), safe="")
    check(client.get(f"/v1/items/{safe}/similar", params={"k": k.encode("utf-8", "replace")}))


@fuzz
@given(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")))
def test_any_key(api, content):
    answer = TestClient(api).get("/metrics", headers={b"X-API-Key": content.strip()})
    assert answer.status_code == 401
