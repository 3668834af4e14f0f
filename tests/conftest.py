import os
import secrets
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from pyarrow.fs import FileSystem
from scipy.sparse import csr_array

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("avrec", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("avrec")

SHARED = Path(os.environ.get("AVREC_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_collection_modifyitems(items):
    for item in items:
        if "local_ray" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


@pytest.fixture
def two_tastes() -> csr_array:
    """Twenty users of two tastes; each misses the one item on the diagonal."""
    liked = np.equal.outer(np.arange(20) % 2, np.arange(20) % 2) & ~np.eye(20, dtype=bool)
    weights = csr_array(liked.astype(np.float32))
    weights.data.flags.writeable = False
    return weights


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory):
    """One Ray node for the whole session, with room for two training workers and a driver."""
    import ray  # noqa: PLC0415

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server():
    """An S3-compatible server in this process; its address."""
    import logging  # noqa: PLC0415

    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3_uri(s3_server) -> str:
    """A root that nobody else uses on an S3-compatible server."""
    query = f"endpoint_override=http://{s3_server}&scheme=http&region=us-east-1"
    uri = f"s3://key:secret@avrec/{secrets.token_hex(6)}?{query}&allow_bucket_creation=true"
    filesystem, path = FileSystem.from_uri(uri)
    filesystem.create_dir(path)
    return uri


@pytest.fixture(params=["local", "s3"])
def root_uri(request, tmp_path) -> str:
    """A root for a workspace: once a folder, once on an S3-compatible server."""
    return str(tmp_path) if request.param == "local" else request.getfixturevalue("s3_uri")


@pytest.fixture(scope="session")
def shared():
    """Give a file or folder beside the project, or skip where it is absent."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"needs {name} of the shared folder, which is not here")
        return SHARED / name

    return find


@pytest.fixture(scope="session")
def wait_until():
    """Wait for a condition, and fail when it does not come true in two minutes."""

    def wait(condition, timeout_seconds: float = 120) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.2)

    return wait
