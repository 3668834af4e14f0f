"""One side of the comparison, as a process of its own: the same application behind other ingress.

    python -m jobs.benchmark_serve_side SIDE ARGS PORT

SIDE is `haproxy` (the ingress of cluster/local.sh), `proxy` (Serve's own) or `uvicorn` (no Ray).
It serves until its standard input ends; a line there is other ARGS, to be deployed in their place.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import ray
import uvicorn
from ray import serve

from avrec.serving.app import ServeArgs, app, build
from jobs.benchmark_serve_client import Target

ROOT = Path(__file__).parents[1]
SIDES = ("haproxy", "proxy", "uvicorn")
READY_SECONDS, END_SECONDS = 180.0, 60.0
SHELL = """
. cluster/env.sh
export RAY_AUTH_TOKEN_PATH=$HOME_DIR/token RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
cluster_token "$RAY_AUTH_TOKEN_PATH"
[ "$1" != haproxy ] || serve_ingress "$HOME_DIR/h"
unset RAY_ADDRESS
exec .venv/bin/python -m jobs.benchmark_serve_side "$@"
"""
PORTS = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)
STATS = PORTS.index("RAY_SERVE_HAPROXY_STATS_PORT")


class Running(NamedTuple):
    """A side that answers."""

    target: Target
    pid: int
    stats_port: int
    stdin: IO[bytes]

    def change(self, args: ServeArgs) -> None:
        """Deploy other arguments."""
        self.stdin.write(f"{args.model_dump_json()}\n".encode())
        self.stdin.flush()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def started(side: str, args: ServeArgs, key: str, home: Path) -> Iterator[Running]:
    """Run a side until the block ends; `home` is a short path, sockets lie below it."""
    home.mkdir(exist_ok=True)
    port, *others = free_ports(1 + len(PORTS))
    environ = os.environ | {name: str(n) for name, n in zip(PORTS, others, strict=True)}
    environ |= {"HOME_DIR": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["bash", "-ec", SHELL, "side", side, args.model_dump_json(), str(port)]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        assert process.stdin is not None
        try:
            _wait(process, port, home / "log")
            yield Running(Target(port, key), process.pid, others[STATS], process.stdin)
        finally:
            process.stdin.close()
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let it end by itself, but not for ever."""
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until the side answers.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
            return
        time.sleep(0.2)
    raise RuntimeError(f"a side did not start: {log.read_text()[-2000:]}")


def replicas_of(pid: int) -> list[int]:
    """The processes below `pid` that run the application: Serve's replicas, else `pid` itself."""
    parents, replicas = dict[int, int](), list[int]()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (entry / "stat").read_text().rpartition(")")[2]
            parents[int(entry.name)] = int(stat.split()[1])
            if b"ServeReplica:avrec:" in (entry / "cmdline").read_bytes():
                replicas.append(int(entry.name))
    return [one for one in replicas if pid in _line(one, parents)] or [pid]


def _line(pid: int, parents: dict[int, int]) -> list[int]:
    line = [pid]
    while line[-1] in parents:
        line.append(parents[line[-1]])
    return line


def _serve_by_uvicorn(args: ServeArgs, port: int) -> None:
    settings = uvicorn.Config(
        build(args),
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    server = uvicorn.Server(settings)
    threading.Thread(target=_until_told, args=[server], daemon=True).start()
    server.run()


def _until_told(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


def _serve_by_ray(args: ServeArgs, port: int) -> None:
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    options = {"host": "127.0.0.1", "port": port, "request_timeout_s": 30}
    serve.start(proxy_location="HeadOnly", http_options=options)
    _deploy(args)
    for line in sys.stdin:
        _deploy(ServeArgs(**json.loads(line)))
    serve.shutdown()
    ray.shutdown()


def _deploy(args: ServeArgs) -> None:
    serve.run(app(args), name="avrec", logging_config={"enable_access_log": False})


def main() -> None:
    """Serve until told to end."""
    side, given, port = sys.argv[1:]
    args = ServeArgs(**json.loads(given))
    (_serve_by_uvicorn if side == "uvicorn" else _serve_by_ray)(args, int(port))


if __name__ == "__main__":
    main()
