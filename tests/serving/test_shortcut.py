"""The short way and the long one answer alike."""

import pytest

from avrec.serving.messages import Answer, Ranking, Receipt
from tests.serving.world import BLUE_FAN

LONG = "application/vnd.api+json"
VOLATILE = ("request_id", "at", "milliseconds")
MODELS = {"recommendations": Answer, "rank": Ranking, "events": Receipt}


def told(client, path, body, kind):
    answer = client.post(f"/v1/{path}", content=body, headers={"Content-Type": kind})
    said = answer.json()
    return answer.status_code, {k: said[k] for k in said if k not in VOLATILE}, said


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("recommendations", f'{{"user_id": "{BLUE_FAN}", "k": 3}}', 200),
        ("recommendations", '{"k": 3.0, "exclude": ["r1", "no such"]}', 200),
        ("recommendations", '{"k": 501}', 422),
        ("recommendations", '{"kk": 1}', 422),
        ("recommendations", '{"user_id": "\\ud800"}', 422),
        ("recommendations", '{"user_id": ', 422),
        ("recommendations", "", 422),
        ("recommendations", b"\xff", 400),
        ("rank", '{"items": ["r1", "b1", "no such"]}', 200),
        ("rank", '{"items": []}', 422),
        ("events", '{"events": [{"event_id": 1}]}', 200),
        ("events", '{"events": 1}', 422),
    ],
)
def test_both_ways_answer_alike(client, path, body, status):
    short = told(client, path, body, "application/json; charset=utf-8")
    long = told(client, path, body, LONG)
    assert short[:2] == long[:2]
    assert short[0] == status
    if status == 200:
        MODELS[path].model_validate(short[2], extra="forbid")


def test_an_answer_holds_what_its_model_says(client):
    answer = client.post("/v1/recommendations", json={"user_id": BLUE_FAN, "k": 3}).json()
    assert answer.keys() == Answer.model_fields.keys()
    assert answer["at"].endswith("Z")


def test_requests_are_counted_by_route_on_both_ways(client):
    told(client, "recommendations", "{}", "application/json")
    told(client, "recommendations", "{}", LONG)
    text = client.get("/metrics").text
    assert 'avrec_requests_total{route="/v1/recommendations",status="200"} 2.0' in text
