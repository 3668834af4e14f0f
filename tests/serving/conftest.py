import pytest
from fastapi.testclient import TestClient

from avrec.serving.api import create_api
from avrec.serving.auth import SCOPES, Keys, create_key
from tests.serving import world


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
