"""Put a bundle into service on a running cluster, and wait until it answers."""

import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import yaml

from avrec.errors import AvrecError
from avrec.serving.auth import DEFAULT, SCOPES, create_key, write_private
from avrec.serving.board import Board
from avrec.serving.routing import activated, first, read, write
from avrec.serving.shelf import Shelf, WorkspaceShelf
from avrec.serving.states import open_board
from avrec.store import Workspace

POLL_SECONDS = 0.25


class DeployError(AvrecError):
    """The service did not start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What is served, and where."""

    workspace: str
    """Root of the artifacts."""
    version: str
    """Of the bundle."""
    home: Path
    """Folder of the service's keys, state and configuration, on the head node."""
    port: int
    """HTTP port on loopback."""
    dashboard: str
    """URL of Ray's dashboard."""

    @property
    def state(self) -> Path:
        """SQLite file of the state; a workspace of another name has another one."""
        return self.home / f"{Path(self.workspace).name}.sqlite"


def deploy(deployment: Deployment, template: Path, timeout_seconds: float = 180) -> None:
    """Activate the bundle, hand a configuration to `serve deploy`, and wait for `/readyz`.

    A service that runs with this configuration already goes on and follows.

    The first time, keys are made and kept in `home/api-key` and, for what needs the scope `admin`,
    `home/admin-key`, readable by their owner alone.

    Args:
        deployment: what is served, and where.
        template: configuration of Serve, with places to fill in.
        timeout_seconds: for the service to answer with this bundle.

    Raises:
        DeployError: the cluster refused it, or it did not answer in time.
        ArtifactError: the bundle may not take traffic.
    """
    home = deployment.home
    for name, scopes in (("api-key", DEFAULT), ("admin-key", SCOPES)):
        if not (home / name).exists():
            write_private(home / name, create_key(home / "keys.json", scopes).encode())
    shelf = WorkspaceShelf(Workspace(deployment.workspace))
    activate(shelf, open_board(str(deployment.state)), deployment.version)
    write_private(home / "serve.yaml", configuration(deployment, template).encode())
    command = [sys.executable, "-m", "ray.serve.scripts", "deploy", str(home / "serve.yaml")]
    done = subprocess.run(  # noqa: S603
        [*command, "--address", deployment.dashboard], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DeployError(f"`serve deploy` failed: {(done.stderr or done.stdout).strip()}")
    url = f"http://127.0.0.1:{deployment.port}/readyz"
    deadline = time.monotonic() + timeout_seconds
    while not _answers(url, deployment.version):
        if time.monotonic() > deadline:
            raise DeployError(f"no answer from {url} in {timeout_seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def activate(shelf: Shelf, board: Board, version: str) -> None:
    """Check a bundle, then write on the board that it is active; running services follow.

    Raises:
        ArtifactError: it may not take traffic.
        RoutingError: somebody else was faster.
        StateError: the board cannot be used.
    """
    shelf.load(version)
    routing, number = read(board)
    if routing is None:
        write(board, first(version), 0)
    elif routing.active != version:
        write(board, activated(routing, version), number)


def configuration(deployment: Deployment, template: Path) -> str:
    """Fill the places of `cluster/serve.yaml` in."""
    config = yaml.safe_load(template.read_text())
    config["http_options"]["port"] = deployment.port
    service, embedder = config["applications"]
    both = {"workspace": deployment.workspace, "state": str(deployment.state)}
    service["args"] |= both | {"keys": str(deployment.home / "keys.json")}
    embedder["args"] |= both
    return str(yaml.safe_dump(config))


def _answers(url: str, version: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return version in answer.read().decode()
    except OSError:
        return False
