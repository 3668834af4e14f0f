"""What probes are told while the state comes and goes."""

import threading

import pytest
from fastapi.testclient import TestClient

from avrec.serving.state import StateError


@pytest.fixture
def client(api, key):
    """One loop for all requests."""
    with TestClient(api, headers={"Authorization": f"Bearer {key}"}) as made:
        yield made


def broken():
    raise StateError("no such file")


def test_a_state_that_never_answered_takes_no_requests(client, service, monkeypatch):
    monkeypatch.setattr(service.state, "check", broken)
    for _ in range(2):
        assert client.get("/readyz").status_code == 503
    monkeypatch.undo()
    assert client.get("/readyz").json()["state"] == "available"


def test_a_state_that_went_away_is_told_and_lists_go_on(client, service, monkeypatch):
    assert client.get("/readyz").json()["state"] == "available"
    monkeypatch.setattr(service.state, "check", broken)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["state"]) == (200, "unavailable")
    monkeypatch.undo()
    assert client.get("/readyz").json()["state"] == "available"


def test_a_state_that_hangs_is_asked_once_and_not_waited_for(client, service, monkeypatch):
    assert client.get("/readyz").json()["state"] == "available"
    let_go, looks = threading.Event(), []

    def slow():
        looks.append(1)
        assert let_go.wait(20)

    monkeypatch.setattr(service.state, "check", slow)
    told = [client.get("/readyz").json()["state"] for _ in range(2)]
    let_go.set()
    assert told == ["unavailable"] * 2
    assert looks == [1]


def test_a_metric_tells_whether_the_state_is_read(client, models, monkeypatch, wait_until):
    def gauge():
        return client.get("/metrics").text.partition("\navrec_state_available ")[2][:3]

    assert gauge() == "1.0"
    really = models.follow
    monkeypatch.setattr(models, "follow", broken)
    models.start()
    wait_until(lambda: gauge() == "0.0")
    monkeypatch.setattr(models, "follow", really)
    wait_until(lambda: gauge() == "1.0")
