"""Old versions of artifacts: which may go, and their removal.

Kept is a version that is current, or among the newest of its artifact, or served, or named by the
manifest of one that is kept, or was replaced within the last day, for somebody may be reading it.
One that was never finished is kept for a day, for somebody may be writing it.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from pyarrow.fs import FileSelector, FileType

from avrec.errors import ArtifactError
from avrec.store import CURRENT, MANIFEST, Artifact, Place, Workspace

VERSION = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
MADE_AT = "%Y%m%dT%H%M%S"
GRACE = timedelta(days=1)


def prune(workspace: Workspace, keep: int, now: datetime, served: Sequence[str] = ()) -> list[str]:
    """Remove what may go, and return it as `name/version`, in order.

    Args:
        workspace: where nothing but artifacts is touched.
        keep: finished versions of each artifact, the newest, that stay; at least 1.
        now: the moment that ages are told by.
        served: versions that stay because a service answers with them, or may.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    versions = {one: name for name in _artifacts(workspace) for one in _folders(workspace, name)}
    kept = {one for name in _artifacts(workspace) for one in _kept(workspace, name, keep, now)}
    kept |= versions.keys() & set(served)
    todo = list(kept)
    while todo:
        one = todo.pop()
        found = _finished(workspace, versions[one], one)
        named = (_named(found.manifest) & versions.keys()) - kept if found else set()
        kept |= named
        todo += named
    gone = sorted((name, one) for one, name in versions.items() if one not in kept)
    for name, one in gone:
        _remove(workspace.root / name / one)
    return [f"{name}/{one}" for name, one in gone]


def finished(workspace: Workspace, name: str) -> list[Artifact]:
    """Open every finished version of an artifact, oldest first."""
    found = [_finished(workspace, name, one) for one in _folders(workspace, name)]
    return [one for one in found if one is not None]


def _artifacts(workspace: Workspace) -> list[str]:
    names = _directories(workspace.root)
    return [name for name in names if (workspace.root / name / CURRENT).exists()]


def _folders(workspace: Workspace, name: str) -> list[str]:
    return [one for one in _directories(workspace.root / name) if VERSION.fullmatch(one)]


def _kept(workspace: Workspace, name: str, keep: int, now: datetime) -> Iterator[str]:
    """Versions of an artifact that stay whoever names them."""
    every = _folders(workspace, name)
    finished = [one for one in every if _finished(workspace, name, one)]
    current = _finished(workspace, name, None)
    if current is None:  # damaged: what is left may be needed
        yield from every
        return
    yield current.version
    yield from finished[-keep:]
    yield from (one for one, after in pairwise(finished) if _age(after, now) < GRACE)
    yield from (one for one in every if one not in finished and _age(one, now) < GRACE)


def _finished(workspace: Workspace, name: str, version: str | None) -> Artifact | None:
    try:
        return workspace.open(name, version)
    except ArtifactError:
        return None


def _named(manifest: object) -> set[str]:
    """Versions that a manifest names: its inputs, and what its notes tell."""
    assert isinstance(manifest, dict)
    values = [*manifest["inputs"].values(), *manifest["notes"].values()]
    return {one for one in values if isinstance(one, str) and VERSION.fullmatch(one)}


def _age(version: str, now: datetime) -> timedelta:
    made_at = datetime.strptime(version.split("-", maxsplit=1)[0], MADE_AT).replace(tzinfo=UTC)
    return now - made_at


def _directories(place: Place) -> list[str]:
    found = place.filesystem.get_file_info(FileSelector(place.path, allow_not_found=True))
    return sorted(one.base_name for one in found if one.type == FileType.Directory)


def _remove(version: Place) -> None:
    """Take the manifest away first: what is left of an interrupted removal is not finished."""
    if (version / MANIFEST).exists():
        version.filesystem.delete_file((version / MANIFEST).path)
    version.filesystem.delete_dir(version.path)
