"""Routes over the bundles that may answer."""

import threading

import pytest
from fastapi.testclient import TestClient

from avrec.serving.auth import ADMIN, EVENTS, READ
from tests.serving.test_api import ask, message
from tests.serving.world import bundle


def test_models_are_listed_activated_and_rolled_back(client, models):
    models.shelf.bundles["v2"] = bundle("v2")
    listed = client.get("/v1/models").json()
    assert (listed["active"], [one["version"] for one in listed["models"]]) == ("v1", ["v1", "v2"])
    assert client.post("/v1/models/v2/activate").json()["previous"] == "v1"
    assert ask(client)["model"] == client.get("/readyz").json()["model"] == "v2"
    assert client.post("/v1/models/rollback").json()["active"] == "v1"
    assert "nothing" not in message(client.post("/v1/models/rollback"))
    assert ask(client)["model"] == "v1"


def test_a_share_or_a_shadow_is_asked_for(client, models):
    models.shelf.bundles["v2"] = bundle("v2")
    url = "/v1/models/v2/activate"
    told = client.post(url, json={"share": 0.5, "shadow": True}).json()
    assert (told["active"], told["candidate"], told["share"], told["shadow"]) == (
        *("v1", "v2", 0.5, True),
    )
    assert {ask(client, user_id=f"{n}")["model"] for n in range(40)} == {"v1", "v2"}
    assert client.post(url, json={"share": 0}).status_code == 422
    assert client.post(url, json={"share": 2}).status_code == 422


def test_bad_and_unknown_models_are_refused_with_the_reason(client, models):
    models.shelf.bundles["v2"] = "items.parquet was altered; make it again"
    bad = client.post("/v1/models/v2/activate")
    assert (bad.status_code, message(bad)) == (409, "items.parquet was altered; make it again")
    assert client.post("/v1/models/v3/activate").status_code == 404
    assert ask(client)["model"] == "v1"


@pytest.mark.parametrize("path", ["/v1/models/v1/activate", "/v1/models/rollback"])
def test_models_are_changed_by_admins_of_the_house_only(client, with_key, path):
    assert with_key(READ, EVENTS).post(path).status_code == 403
    assert with_key(ADMIN, tenant="t").post(path).status_code == 403
    assert with_key(READ).get("/v1/models").status_code == 200


def test_readiness_tells_of_a_model_that_is_being_loaded_or_refused(client, models, wait_until):
    free, good = threading.Event(), bundle("v2")
    load = models.shelf.load
    models.shelf.bundles |= {"v2": good, "v3": "its file is cut short"}

    def slow(version):
        free.wait(60)
        return load(version)

    models.shelf.load = slow
    asked = threading.Thread(target=lambda: client.post("/v1/models/v2/activate"))
    asked.start()
    wait_until(lambda: client.get("/readyz").json()["loading"] == ["v2"])
    assert client.get("/readyz").json()["model"] == ask(client)["model"] == "v1"
    free.set()
    asked.join()
    ready = client.get("/readyz").json()
    assert (ready["model"], ready["loading"], ready["refused"]) == ("v2", [], {})
    client.post("/v1/models/v3/activate")
    assert client.get("/readyz").json()["refused"] == {"v3": "its file is cut short"}


def test_a_replica_that_ends_follows_no_longer(api, models):
    with TestClient(api) as client:
        models.start()
        assert client.get("/readyz").status_code == 200
    models._thread.join(60)
    assert not models._thread.is_alive()
