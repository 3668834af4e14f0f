"""`cluster/local.sh` as a person uses it: start, ask, start again, stop."""

import json
import os
import socket
import stat
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def local(home, *arguments, timeout=600):
    return subprocess.run(
        ["bash", "cluster/local.sh", *arguments],
        cwd=ROOT,
        env=os.environ | {"AVREC_HOME": str(home), "AVREC_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def refusal(done):
    """The one line on standard error of a run that failed."""
    assert done.returncode != 0
    [line] = done.stderr.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def started(home):
    yield local(home, "--config", "tests/cluster/tiny.toml")
    local(home, "stop")


@pytest.fixture(scope="module")
def service(started, home):
    assert started.returncode == 0, started.stdout[-4000:] + started.stderr[-4000:]
    ports = dict(line.split("=") for line in (home / "ports").read_text().split())
    key = (home / "api-key").read_text()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{ports['SERVE_PORT']}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    ) as client:
        yield client


@pytest.mark.ray
@pytest.mark.slow
class TestStarted:
    def test_prints_stages_metrics_a_list_and_a_command(self, started, service):
        for stage in ("sample", "embed", "train_als", "train_towers", "train_ranker"):
            assert f" s  {stage}\n" in started.stdout
        assert "popularity" in started.stdout
        assert "ranked" in started.stdout
        assert "curl -s http://127.0.0.1:" in started.stdout

    def test_the_printed_command_works(self, started, service):
        [command] = [line for line in started.stdout.splitlines() if line.startswith("curl -s")]
        answer = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True
        ).stdout
        ranks = [item["rank"] for item in json.loads(answer)["items"]]
        assert ranks
        assert ranks == list(range(1, len(ranks) + 1))

    def test_a_report_is_there_to_open(self, started, service, home):
        begun = f"{home}/workspace/report/"
        [page] = [line for line in started.stdout.splitlines() if line.startswith(begun)]
        assert "What avrec understood" in Path(page).read_text()

    def test_secrets_are_readable_by_their_owner_alone(self, service, home):
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        for name in ("api-key", "keys.json", "ray-token"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        assert (home / "api-key").read_text() not in (home / "keys.json").read_text()

    def test_without_the_key_there_is_no_answer(self, service):
        wrong = service.post("/v1/recommendations", json={}, headers={"Authorization": "Bearer x"})
        assert wrong.status_code == 401

    def test_an_event_changes_the_next_list(self, service):
        ask = {"user_id": "somebody new", "k": 5}
        first = service.post("/v1/recommendations", json=ask).json()["items"]
        event = {
            "event_id": str(uuid.uuid4()),
            "user_id": "somebody new",
            "item_id": first[0]["item_id"],
            "kind": "complete",
            "at": datetime.now(UTC).isoformat(),
        }
        assert service.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
        second = service.post("/v1/recommendations", json=ask).json()["items"]
        assert first[0]["item_id"] not in [item["item_id"] for item in second]

    def test_started_again_it_reuses_what_is_done(self, service, home):
        model = service.get("/readyz").json()["model"]
        again = local(home, "--config", "tests/cluster/tiny.toml")
        assert again.returncode == 0, again.stderr
        assert "Ray node is running" in again.stdout
        assert again.stdout.count("up to date") >= 8
        assert service.get("/readyz").json()["model"] == model

    def test_a_second_start_at_once_is_refused(self, service, home):
        with (home / "lock").open() as held:
            subprocess.run(
                ["flock", "-n", str(held.fileno())], pass_fds=[held.fileno()], check=True
            )
            assert "another cluster/local.sh is at work" in refusal(local(home))

    def test_stop_ends_it_and_a_second_stop_says_so(self, service, home):
        port = service.base_url.port
        assert local(home, "stop").returncode == 0
        with socket.socket() as free:
            assert free.connect_ex(("127.0.0.1", port)) != 0
        assert "nothing to stop" in refusal(local(home, "stop"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--media"], "--media needs a value"),
        (["--media", "."], "your own files need --events FILE"),
        (["--media", "no such folder", "--events", "README.md"], "no such file or folder"),
        (["--verbose"], "unknown argument '--verbose'"),
        (["stop"], "nothing to stop"),
    ],
)
def test_wrong_arguments_are_one_clear_line(tmp_path, arguments, message):
    assert message in refusal(local(tmp_path, *arguments))
