import pytest
from fastapi.testclient import TestClient

from avrec.serving.api import create_api
from avrec.serving.auth import EVENTS, READ, SCOPES, Keys, create_key
from avrec.serving.board_sqlite import SQLiteBoard
from tests.serving import world
from tests.serving.states import redis_board, redis_server


@pytest.fixture
def models(tmp_path):
    return world.models(tmp_path / "live.sqlite")


@pytest.fixture
def service(models):
    return models.active


@pytest.fixture
def key(tmp_path):
    return create_key(tmp_path / "keys.json", SCOPES)


@pytest.fixture
def api(models, key, tmp_path):
    return create_api(models, Keys(tmp_path / "keys.json"), max_body_bytes=100_000)


@pytest.fixture
def client(api, key):
    return TestClient(api, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def with_key(api, tmp_path):
    def make(*scopes, **others):
        key = create_key(tmp_path / "keys.json", scopes or (READ, EVENTS), **others)
        return TestClient(api, headers={"X-API-Key": key})

    return make


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Redis server of a module's own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def board(request, tmp_path):
    """Each kind of board."""
    if request.param == "sqlite":
        return SQLiteBoard(tmp_path / "live.sqlite")
    return redis_board(request.getfixturevalue("server"))
