"""The bundles of a workspace, as a service takes them from there."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from avrec import checks
from avrec.errors import ArtifactError
from avrec.store import Workspace
from avrec.versions import VERSION, finished

if TYPE_CHECKING:
    from avrec.bundle import Bundle

NAME = "bundle"


class Kept(NamedTuple):
    """A bundle that may be activated; `metrics` are those of its models when it was made."""

    version: str
    made_at: str
    metrics: dict[str, float]


class Shelf(Protocol):
    """Where bundles come from."""

    def load(self, version: str | None) -> "Bundle":
        """Load and check a bundle, by default the one made last.

        Raises:
            ArtifactError: it is absent, or may not take traffic.
        """
        ...

    def kept(self) -> list[Kept]:
        """List what there is, oldest first."""
        ...


class WorkspaceShelf:
    """A `Shelf` of the artifacts `bundle`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def load(self, version: str | None) -> "Bundle":
        """See `Shelf`."""
        if version is not None and not VERSION.fullmatch(version):
            raise ArtifactError(f"{version!r} is no version; see `python -m jobs.models list`")
        return checks.load(self._workspace.open(NAME, version))

    def kept(self) -> list[Kept]:
        """See `Shelf`."""
        found = [one.manifest for one in finished(self._workspace, NAME)]
        return [Kept(one["version"], one["created_at"], one["metrics"]) for one in found]
