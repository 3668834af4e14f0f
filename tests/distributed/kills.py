"""Drivers that a test ends in the middle, and producers that wait for that.

python -m tests.distributed.kills driver NOTES ROOT FILE ...
python -m tests.distributed.kills node NOTES ROOT FILE ...
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from avrec.distributed.extract import Pool, extract
from tests.distributed.test_extract import Lengths, contents_of, extraction, planned


class StopsAfterTwo(Lengths):
    """Sees two contents and waits for its end at the third."""

    def _row(self, sha256, content):
        if len(list(self.notes.iterdir())) >= 2:
            wait_for(lambda: False)
        return super()._row(sha256, content)


class StopsOnTheDoomedNode(Lengths):
    """Waits for its end where the node is to be removed, and elsewhere until that has begun."""

    def _row(self, sha256, content):
        begun = self.notes.parent / "begun"
        if ray.get_runtime_context().get_node_id() == (self.notes.parent / "doomed").read_text():
            begun.touch()
            wait_for(lambda: False)
        wait_for(begun.exists)
        return super()._row(sha256, content)


class DiesOnce(Lengths):
    """Ends its process at the first content that it sees."""

    def _row(self, sha256, content):
        first = not any(self.notes.iterdir())
        row = super()._row(sha256, content)
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return row


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.05)


def run_driver(notes: Path, root: Path, files: list[Path]) -> None:
    """Extract on the cluster that the environment names, one file a part, until ended."""
    ray.init(log_to_driver=False)
    one = planned(StopsAfterTwo, notes)
    extract(contents_of(*files), extraction(root, one, files_per_block=1, num_decoders=1))


def run_node(notes: Path, root: Path, files: list[Path]) -> None:
    """Extract on two nodes of one actor each; one node is removed at its work, another comes."""
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    doomed = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    (notes / "doomed").write_text(doomed.node_id)

    def remove() -> None:
        wait_for((notes / "begun").exists)
        cluster.remove_node(doomed, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    removal = threading.Thread(target=remove)
    removal.start()
    one = planned(StopsOnTheDoomedNode, notes)
    pools = {"": Pool(2, 1.0, 0.0)}
    extract(contents_of(*files), extraction(root, one, files_per_block=1, pools=pools))
    removal.join()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    kind, notes, root, *files = sys.argv[1:]
    run = {"driver": run_driver, "node": run_node}[kind]
    run(Path(notes), Path(root), [Path(file) for file in files])
