"""The pipeline on two real Ray nodes of one machine, by the scripts that a cluster's owner runs.

The workspace is on an S3-compatible server; the code travels with the job.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from avrec.schema import METRICS, RECOMMENDATIONS
from avrec.store import Workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def free_ports(num_ports):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(num_ports)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def node(command, environ, log):
    """Run one node until the block ends, then end that process and what it started."""
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", *command], cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def nodes_alive(dashboard, token):
    with contextlib.suppress(httpx.HTTPError, OSError):
        headers = {"Authorization": f"Bearer {token.read_text()}"}
        answer = httpx.get(f"{dashboard}/nodes?view=summary", headers=headers)
        summary = answer.json()["data"]["summary"]
        return sum(one["raylet"].get("state") == "ALIVE" for one in summary)
    return 0


@pytest.fixture
def two_nodes(tmp_path, tmp_path_factory, wait_until):
    """Two nodes of three CPUs, behind a token."""
    port, dashboard_port, *agents = free_ports(8)
    environ = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "AVREC_RAY_PORT": str(port),
        "AVREC_DASHBOARD_PORT": str(dashboard_port),
    }
    short = tmp_path_factory.mktemp("r")  # one a node: each unpacks the job's code below its own

    def options(agent, grpc, metrics):
        named = zip(
            ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port"),
            (agent, grpc, metrics),
            strict=True,
        )
        return [f"--{name}={value}" for name, value in named] + ["--num-cpus=3"]

    head = ["cluster/head.sh", f"--temp-dir={short}/h", *options(*agents[:3])]
    worker = ["cluster/worker.sh", f"127.0.0.1:{port}", f"--temp-dir={short}/w"]
    worker += options(*agents[3:])
    dashboard = f"http://127.0.0.1:{dashboard_port}"
    with node(head, environ, tmp_path / "head.log"):
        wait_until(lambda: nodes_alive(dashboard, tmp_path / "token") == 1)
        with node(worker, environ, tmp_path / "worker.log"):
            wait_until(lambda: nodes_alive(dashboard, tmp_path / "token") == 2)
            yield dashboard, environ


def test_pipeline_from_media_to_lists(two_nodes, s3_uri):
    dashboard, environ = two_nodes
    submit = f"{ROOT}/.venv/bin/ray job submit --address {dashboard} --working-dir ."
    job = "python -m jobs.pipeline --config tests/cluster/tiny.toml"
    submitted = subprocess.run(
        [
            *f"{submit} --runtime-env cluster/runtime_env.yaml -- {job} --set".split(),
            f"workspace={json.dumps(s3_uri)}",
        ],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert submitted.returncode == 0, submitted.stdout[-4000:] + submitted.stderr[-2000:]

    workspace = Workspace(s3_uri)
    metrics = workspace.read_table("metrics", METRICS)
    assert {"popularity", "als", "towers"} <= set(metrics["model"].to_pylist())
    lists = workspace.read_table("recommendations", RECOMMENDATIONS)
    assert set(lists["rank"].to_pylist()) == set(range(1, 6))

    assert httpx.get(f"{dashboard}/api/jobs/").status_code == 401
