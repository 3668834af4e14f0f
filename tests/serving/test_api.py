import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from avrec.serving.auth import ADMIN, READ, create_key
from avrec.serving.messages import MAX_CANDIDATES, MAX_EVENTS, MAX_K
from avrec.serving.state import StateError
from tests.serving.world import BLUE_FAN, IDS, ODD, RED_FAN

JSON = {"Content-Type": "application/json"}


def ask(client, **body):
    answer = client.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def event(event_id, **others):
    return {"event_id": event_id, "user_id": "u", "item_id": "r5", "kind": "play"} | others


def post(client, *rows):
    answer = client.post("/v1/events", json={"events": rows})
    assert answer.status_code == 200, answer.text
    return answer.json()


def message(answer):
    error = answer.json()["error"]
    assert set(error) == {"kind", "message"}
    return error["message"]


def test_a_known_user_gets_their_kind_with_all_that_is_said_of_a_list(client):
    answer = ask(client, user_id=BLUE_FAN, k=3)
    assert ids(answer) == ["b2", "b3", "b4"]
    assert answer["model"] == "v1"
    assert answer["policy"] == "two_kinds"
    assert set(answer["milliseconds"]) == {"history", "recommend", "log"}
    first = {"item_id": "b2", "title": "Title of b2", "rank": 1, "score": 1.0, "propensity": 1.0}
    assert answer["items"][0] == first | {"sources": ["kind"], "reason": "Same kind"}
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]


def test_finished_items_are_not_shown_again(client):
    assert ids(ask(client, user_id=RED_FAN, k=2)) == ["r2", "r3"]


def test_a_session_makes_a_history_for_anybody(client):
    assert ids(ask(client, context={"session": ["r3"]}, k=2)) == ["r0", "r1"]
    assert ids(ask(client, user_id="new", context={"session": ["r3"]}, k=1)) == ["r0"]
    assert ids(ask(client, user_id=BLUE_FAN, context={"session": ["r3"]}, k=1)) == ["b2"]


def test_nobody_gets_a_list_and_what_is_unknown_is_said(client):
    answer = ask(client, exclude=["b0", "no such"], context={"session": ["nor this"]})
    assert ids(answer)[0] == "b1"
    assert answer["unknown"] == ["nor this", "no such"]
    assert len(answer["items"]) == 10


def test_a_long_list_ends_with_the_catalogue(client):
    assert len(ask(client, k=MAX_K)["items"]) == len(IDS)


def test_events_change_the_next_list(client):
    assert ids(ask(client, user_id="u", k=1)) == ["b0"]
    assert post(client, event("1"))["accepted"] == 1
    assert ids(ask(client, user_id="u", k=2)) == ["r0", "r1"]
    post(client, event("2", item_id="r0", kind="complete"), event("3", item_id="r1", kind="skip"))
    assert ids(ask(client, user_id="u", k=1)) == ["r2"]


def test_what_is_refused_by_a_person_leaves_list_and_history(client):
    for number, item in enumerate(["b0", "b1"]):
        post(client, event(str(number), user_id=BLUE_FAN, item_id=item, kind="dislike"))
    post(client, event("like", user_id=BLUE_FAN, item_id="r5", kind="like"))
    answer = ask(client, user_id=BLUE_FAN, k=MAX_K)
    assert ids(answer)[0] == "r0"
    assert not {"b0", "b1", "r5"} & set(ids(answer))


def test_each_event_is_judged_by_itself(client):
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    bad = [
        event("nan", position_seconds=float("nan")),
        event("negative", position_seconds=-1),
        event("strange", kind="sneeze"),
        event("misspelt", position=3),
        event("unknown", item_id="no such"),
        event("future", at=later),
        event("naive", at="2024-01-01T00:00:00"),
        event("number", at=17),
        event("x" * 10_000),
        event("surrogate", user_id="\ud800"),
        "no event",
        None,
    ]
    body = json.dumps({"events": [event("good", position_seconds=2.5), *bad, event("good")]})
    answer = client.post("/v1/events", content=body, headers=JSON).json()
    assert (answer["accepted"], answer["duplicate"], answer["refused"]) == (1, 1, len(bad))
    said = dict(zip(range(-1, len(bad)), answer["events"], strict=False))
    assert said[-1] == {"event_id": "good", "status": "accepted", "reason": None}
    words = ["finite", "greater than or equal to 0", "'sneeze'|'impression'", "position"]
    words += ["not in the catalogue", "future", "timezone", "ISO 8601", "512", "unicode"]
    reasons = [said[n]["reason"] for n in range(len(bad))]
    for word, reason in zip(words, reasons, strict=False):
        assert any(part in reason for part in word.split("|")), (word, reason)
    assert answer["events"][-1]["status"] == "duplicate"


def test_accepted_events_are_in_the_state_as_they_were_sent(client, service):
    at = "2024-05-01T10:00:00+02:00"
    post(client, event("1", at=at, position_seconds=3, value=0.5, request_id="r"))
    [stored] = service.state.seal(9).events.to_pylist()
    assert stored == event("1", position_seconds=3.0, value=0.5, request_id="r") | {
        "at": datetime(2024, 5, 1, 8, tzinfo=UTC)
    }


def test_every_answer_names_its_request(client):
    answer = client.post("/v1/recommendations", json={})
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    other = client.get("/no/such")
    assert len(other.headers["x-request-id"]) == len(answer.headers["x-request-id"])


def test_served_lists_are_logged_for_later_joins(client, service):
    answer = ask(client, user_id=BLUE_FAN, k=2)
    logged = service.state.seal(9).served.to_pylist()
    assert [row["item_id"] for row in logged] == ids(answer)
    assert {row["request_id"] for row in logged} == {answer["request_id"]}
    assert [row["rank"] for row in logged] == [1, 2]


def rank(client, *items, **body):
    answer = client.post("/v1/rank", json={"items": items} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_callers_candidates_come_in_the_order_of_the_persons_taste(client, service):
    answer = rank(client, "r5", "b7", "r2", "b4", "b4", "no such", user_id=BLUE_FAN)
    assert ids(answer) == ["b4", "b7", "r2", "r5"]
    assert answer["unknown"] == ["no such"]
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4]
    assert answer["items"][0]["reason"] == "Same kind"
    assert answer["left_out"] == []
    logged = service.state.seal(9).served.to_pylist()
    assert [row["item_id"] for row in logged] == ids(answer)
    assert {row["request_id"] for row in logged} == {answer["request_id"]}
    assert ids(rank(client, "r5", "b7", context={"session": ["r0"]}, k=1)) == ["r5"]


def test_candidates_that_are_finished_refused_or_broken_are_left_out_and_told(client):
    post(client, event("1", user_id=RED_FAN, item_id="b2", kind="skip"))
    post(client, event("2", user_id=RED_FAN, item_id="r4", kind="complete"))
    answer = rank(client, "r0", "r1", "r4", "b2", "b9", "b3", user_id=RED_FAN)
    assert ids(answer) == ["r0", "b3"]
    left = {one["item_id"]: one["reason"] for one in answer["left_out"]}
    over = dict.fromkeys(["r1", "r4", "b2"], "finished_or_refused")
    assert left == over | {"b9": "unplayable"}


def test_candidates_must_be_some_and_not_too_many(client):
    for items in ([], ["b0"] * (MAX_CANDIDATES + 1), "b0", [3]):
        answer = client.post("/v1/rank", json={"items": items})
        assert answer.status_code == 422
        assert message(answer).startswith("items")
    assert ids(rank(client, *["no such"] * MAX_CANDIDATES)) == []


@pytest.mark.parametrize("item_id", ["b0", *ODD])
def test_similar_finds_any_id(client, item_id):
    answer = client.get(f"/v1/items/{quote(item_id, safe='')}/similar", params={"k": 2})
    assert answer.status_code == 200
    assert answer.json()["item_id"] == item_id
    assert all(found[0] == item_id[0] for found in ids(answer.json()))
    assert len(answer.json()["items"]) == 2


def test_similar_to_an_unknown_item_is_not_found(client):
    for item_id in ("nope", "x" * 10_000, "%00", "%ff"):
        answer = client.get(f"/v1/items/{item_id}/similar")
        assert answer.status_code == 404
        assert message(answer) == "this item is not in the catalogue"


@pytest.mark.parametrize("k", [0, -1, 1_000_000, "x", 10**30])
def test_k_out_of_range_says_the_range(client, k):
    posted = client.post("/v1/recommendations", json={"k": k})
    got = client.get("/v1/items/b0/similar", params={"k": k})
    assert posted.status_code == got.status_code == 422
    assert message(posted).startswith("k: ")
    assert k == "x" or message(posted) == message(got) == f"k: must be in 1..{MAX_K}"


def test_wrong_bodies_name_the_field(client):
    def said(body):
        answer = client.post("/v1/recommendations", json=body)
        assert answer.status_code == 422
        return message(answer)

    assert said({"user": "u"}).startswith("user: ")
    assert "user_id: " in said({"user_id": "x" * 10_000})
    assert "512" in said({"user_id": "x" * 10_000})
    assert "context.session.0" in said({"context": {"session": [3]}})
    assert "exclude" in said({"exclude": "b0"})
    answer = client.post("/v1/events", json={"events": [event("1")] * (MAX_EVENTS + 1)})
    assert answer.status_code in (413, 422)
    assert client.post("/v1/events", json={"events": []}).status_code == 422
    assert client.post("/v1/events", json={}).status_code == 422


def test_a_body_that_is_not_json_is_said_so(client):
    for content in (b"{", b"\xff", b"[" * 90_000, b'{"k": 1' + b"0" * 9_000 + b"}", b"", b"3"):
        answer = client.post("/v1/recommendations", content=content, headers=JSON)
        assert answer.status_code in (400, 422), content[:9]
        assert message(answer)
    form = client.post("/v1/recommendations", data={"k": "3"})
    assert form.status_code == 422
    assert "Content-Type: application/json" in message(form)


def test_bodies_too_large_are_refused_with_and_without_a_length(client):
    large = json.dumps({"user_id": "x" * 200_000}).encode()
    whole = client.post("/v1/recommendations", content=large)
    pieces = client.post("/v1/recommendations", content=iter([large[:99_999], large[99_999:]]))
    assert whole.status_code == pieces.status_code == 413
    assert message(whole) == message(pieces) == "a body may have at most 100000 bytes"


def test_without_a_right_key_only_health_and_documentation_answer(api, key):
    stranger = TestClient(api)
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert stranger.get(path).status_code == 200
    closed = [("GET", "/metrics"), ("GET", "/v1/items/b0/similar"), ("GET", "/no/such")]
    closed += [("POST", "/v1/recommendations"), ("POST", "/v1/events"), ("GET", "/docs/")]
    for method, path in closed:
        for headers in ({}, {"X-API-Key": key[:-1]}, {"Authorization": f"Basic {key}"}):
            answer = stranger.request(method, path, headers=headers, content=b"{")
            assert answer.status_code == 401
            assert "key" in message(answer)
    assert stranger.get("/metrics", headers={"X-API-Key": key}).status_code == 200


def test_a_reading_key_may_not_post_events(api, tmp_path):
    reader = TestClient(api, headers={"X-API-Key": create_key(tmp_path / "keys.json", [READ])})
    assert reader.post("/v1/recommendations", json={}).status_code == 200
    assert reader.post("/v1/rank", json={"items": ["b0"]}).status_code == 200
    answer = reader.post("/v1/events", json={"events": [event("1")]})
    assert answer.status_code == 403
    assert "events" in message(answer)


def test_what_changes_things_needs_a_key_for_it_whatever_it_is(with_key):
    for client in (with_key(), with_key(ADMIN, tenant="acme")):
        for method, path in (("PUT", "/v1/items/b0"), ("DELETE", "/no/such"), ("POST", "/v1/x")):
            assert client.request(method, path).status_code == 403
    assert with_key().delete("/v1/users/u").status_code == 403
    assert with_key(ADMIN).put("/v1/items").status_code in (404, 405)
    assert with_key(ADMIN).post("/v1/recommendations", json={}).status_code == 403


def test_people_of_one_tenant_are_unknown_to_another(client, with_key, service):
    ours, theirs = with_key(tenant="a"), with_key(tenant="b")
    assert post(ours, event("1"))["accepted"] == 1
    assert post(theirs, event("1", item_id="b3", kind="skip"))["accepted"] == 1
    assert post(ours, event("1"))["duplicate"] == 1
    assert ids(ask(ours, user_id="u", k=1)) == ["r0"]
    assert ids(ask(theirs, user_id="u", k=4)) == ["b0", "b1", "b2", "b4"]
    assert ids(ask(client, user_id="u", k=1)) == ["b0"]
    assert ids(ask(ours, user_id=RED_FAN, k=1)) == ["b0"]
    for number, field in enumerate(("user_id", "event_id")):
        answer = post(client, event(f"x{number}") | {field: "a\x1fu"})
        assert answer["refused"] == 1
    assert client.post("/v1/recommendations", json={"user_id": "a\x1fu"}).status_code == 422


def test_a_key_that_comes_too_often_is_told_when_to_come_again(with_key, client):
    rare = with_key(per_second=0.01)
    assert rare.post("/v1/recommendations", json={}).status_code == 200
    answer = rare.post("/v1/recommendations", json={})
    assert answer.status_code == 429
    assert 98 <= int(answer.headers["Retry-After"]) <= 100
    assert "come again in" in message(answer)
    assert ask(client)


def test_a_forgotten_user_is_unknown_from_the_next_list_on(client, with_key, service, caplog):
    caplog.set_level("INFO")
    post(client, event("1", user_id=BLUE_FAN, item_id="b2", kind="complete"))
    assert ids(ask(client, user_id=RED_FAN, k=1)) == ["r2"]
    for user, count in ((BLUE_FAN, 1), (RED_FAN, 0)):
        answer = client.delete(f"/v1/users/{quote(user, safe='')}")
        assert answer.status_code == 200
        assert answer.json()["events"] == count
        assert ids(ask(client, user_id=user, k=2)) == ["b0", "b1"]
        assert user not in caplog.messages[-1]
    assert "forgotten user=" in caplog.text
    assert len(service.state.seal(99).events) == 0
    assert with_key(ADMIN, tenant="a").delete("/v1/users/x").json()["events"] == 0
    assert service.state.forgotten()["user_id"].to_pylist()[0] == "a\x1fx"
    assert client.delete("/v1/users/a%1Fx").status_code == 404


def test_errors_of_the_router_have_the_same_shape(client):
    assert message(client.get("/no/such"))
    assert client.get("/v1/events").status_code == 405
    assert message(client.get("/v1/events"))


def test_meters_count_requests_events_and_stages(client):
    ask(client)
    post(client, event("1"), event("1"), event("2", kind="sneeze"))
    client.post("/v1/recommendations", json={"k": 0})
    text = client.get("/metrics").text
    for line in (
        'avrec_requests_total{route="/v1/recommendations",status="200"} 1.0',
        'avrec_requests_total{route="/v1/recommendations",status="422"} 1.0',
        'avrec_events_total{status="accepted"} 1.0',
        'avrec_events_total{status="duplicate"} 1.0',
        'avrec_events_total{status="refused"} 1.0',
        'avrec_stage_seconds_count{stage="recommend"} 1.0',
    ):
        assert line in text


def test_a_state_that_fails_is_said_and_lists_still_come(client, service, monkeypatch):
    def full(_):
        raise StateError("the disk is full")

    monkeypatch.setattr(service.state, "append", full)
    monkeypatch.setattr(service.state, "log_served", full)
    answer = client.post("/v1/events", json={"events": [event("1")]})
    assert answer.status_code == 503
    assert "nothing was stored" in message(answer)
    assert ids(ask(client, k=1)) == ["b0"]
    assert "avrec_unlogged_lists_total 1.0" in client.get("/metrics").text


def test_documentation_page_needs_no_network(client):
    page = client.get("/docs", headers={"Authorization": ""}).text
    needed = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert needed
    assert all(client.get(url, headers={"Authorization": ""}).status_code == 200 for url in needed)
    assert "//" not in page.replace("</", "").split("<script>")[0]
