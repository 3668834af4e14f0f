"""Which content ends its worker, so that it becomes a failure and not the end of the run.

    attempts/<run>/<block>.json     written when a block is begun, deleted when it is done

A worker that finds the file of its block there knows that another one ended over it. It then takes
the contents one at a time, and notes each before it begins; one that ended so many workers is not
tried again in this run. Notes of other runs do not count: their drivers may have been ended, which
is nobody's fault.
"""

import hashlib
import json
from collections.abc import Sequence

from pyarrow import fs as pafs

from avrec.store import Place

FOLDER = "attempts"
MAX_TRIES = 2


class Attempt:
    """One worker's go at a block of contents."""

    def __init__(self, root: Place, run: str, stage: str, contents: Sequence[str]) -> None:
        name = hashlib.sha256("\0".join([stage, *contents]).encode()).hexdigest()[:32]
        self._place = root / FOLDER / run / f"{name}.json"
        try:
            self._tries: dict[str, int] = json.loads(self._place.read())
            self.careful = True
        except FileNotFoundError:
            self._tries = {}
            self.careful = False
        self._write()

    def given_up(self, sha256: str) -> bool:
        """Whether a content has ended so many workers that it is not tried again."""
        return self._tries.get(sha256, 0) >= MAX_TRIES

    def begin(self, sha256: str) -> None:
        """Note that a content is begun."""
        self._tries[sha256] = self._tries.get(sha256, 0) + 1
        self._write()

    def end(self, sha256: str) -> None:
        """Note that a content is behind us."""
        self._tries.pop(sha256, None)
        self._write()

    def done(self) -> None:
        """Forget the block."""
        if self._place.exists():
            self._place.filesystem.delete_file(self._place.path)

    def _write(self) -> None:
        self._place.write(json.dumps(self._tries).encode())


def clear(root: Place) -> None:
    """Delete what earlier runs noted."""
    home = root / FOLDER
    if home.filesystem.get_file_info(home.path).type == pafs.FileType.Directory:
        home.filesystem.delete_dir(home.path)
