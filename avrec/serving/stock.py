"""The bundles that a replica holds, and the one that it is loading beside them."""

import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from avrec.errors import ArtifactError
from avrec.log import pairs
from avrec.serving.meters import Meters
from avrec.serving.shelf import Shelf

if TYPE_CHECKING:
    from concurrent.futures import Future

    from avrec.bundle import Bundle

logger = logging.getLogger(__name__)
RETRY_SECONDS = 30.0
"""After which a refused bundle is looked at again: its file system may have been away."""


class Stock:
    """Bundles by version; one at a time is loaded, in a thread of its own."""

    def __init__(self, shelf: Shelf, meters: Meters) -> None:
        self._shelf, self._meters = shelf, meters
        self._bundles: dict[str, Bundle] = {}
        self._loading: dict[str, Future[Bundle]] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._lock, self._pool = threading.Lock(), ThreadPoolExecutor(1, "stock")

    @property
    def loading(self) -> list[str]:
        """Versions that are being loaded."""
        return sorted(self._loading)

    @property
    def refused(self) -> dict[str, str]:
        """Versions that may not take traffic here, and why."""
        return {version: why for version, (why, _) in sorted(self._refused.items())}

    def get(self, version: str | None) -> "Bundle | None":
        """Give a bundle that is here."""
        return self._bundles.get(version or "")

    def fetch(self, version: str) -> "Future[Bundle]":
        """Begin to load a version, unless that is under way."""
        with self._lock:
            if version not in self._loading:
                self._loading[version] = self._pool.submit(self._load, version)
            return self._loading[version]

    def want(self, version: str) -> None:
        """See to it that a version will be here, if it can be."""
        _, refused_at = self._refused.get(version, ("", -RETRY_SECONDS))
        if version not in self._bundles and time.monotonic() - refused_at >= RETRY_SECONDS:
            self.fetch(version)

    def require(self, version: str) -> "Bundle":
        """Give a bundle, loaded if it is not here.

        Raises:
            ArtifactError: it may not take traffic.
        """
        return self.get(version) or self.fetch(version).result()

    def first(self, versions: list[str | None]) -> "Bundle":
        """Load the first that may take traffic; None is the one made last.

        Raises:
            ArtifactError: none may; the error is the last one's.
        """
        for version in versions[:-1]:
            try:
                return self._put(self._shelf.load(version))
            except ArtifactError as error:
                self._refuse(version or "", error)
        return self._put(self._shelf.load(versions[-1]))

    def keep(self, versions: Iterable[str]) -> None:
        """Let go what is not named."""
        kept = set(versions)
        with self._lock:
            self._bundles = {name: one for name, one in self._bundles.items() if name in kept}
            self._refused = {name: one for name, one in self._refused.items() if name in kept}

    def _load(self, version: str) -> "Bundle":
        try:
            return self._put(self._shelf.load(version))
        except ArtifactError as error:
            self._refuse(version, error)
            raise
        finally:
            with self._lock:
                del self._loading[version]

    def _put(self, loaded: "Bundle") -> "Bundle":
        with self._lock:
            self._bundles[loaded.version] = loaded
            self._refused.pop(loaded.version, None)
        logger.info("loaded %s", pairs(bundle=loaded.version, items=len(loaded.vocabulary)))
        return loaded

    def _refuse(self, version: str, error: ArtifactError) -> None:
        logger.error("bundle refused %s", pairs(bundle=version, why=str(error)))
        self._meters.refused.inc()
        with self._lock:
            self._refused[version] = str(error), time.monotonic()
