"""Keys of the service: made here, shown once, stored only as salted hashes.

A key is 32 random bytes, so it cannot be guessed and needs no slow hash: one SHA-256 over salt and
key is as hard to turn back as the key is to guess, and costs a microsecond a request. (Scrypt is
for passwords, which people choose.)

The file is JSON of mode 0600, replaced in one step; keys may be added or struck out while the
service runs. Nothing here logs a key.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from avrec.errors import ConfigError

FORMAT = 1
READ, EVENTS = "read", "events"
SCOPES = (READ, EVENTS)
PRIVATE = 0o600


class StoredKey(NamedTuple):
    """What is kept of a key: enough to recognise it, too little to use it."""

    salt: str
    digest: str
    scopes: frozenset[str]


def create_key(path: Path, scopes: Sequence[str] = SCOPES) -> str:
    """Add a key to the file at `path`, which is made if absent, and return it: the only time.

    Two calls at once add two keys.

    Raises:
        ConfigError: the file is there but is not a key file.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValueError(f"scopes must be some of {SCOPES}, got {tuple(scopes)}")
    key, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
    entry = {"salt": salt, "sha256": _digest(salt, key), "scopes": sorted(scopes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        known = _parse(path)["keys"] if path.exists() else []
        stored = {"format": FORMAT, "keys": [*known, entry]}
        write_private(path, json.dumps(stored, indent=1).encode())
    return key


def write_private(path: Path, content: bytes) -> None:
    """Put a file of mode 0600 at `path`, whole or not at all, at no moment readable by others."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as out:  # noqa: PTH123
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class Keys:
    """The keys of a file, read again when it changes; no file means that no key is right."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[StoredKey, ...] = ()
        self._refresh()
        if not self._keys:
            raise ConfigError(f"no keys in {path}; make one with avrec.serving.auth.create_key")

    def scopes(self, key: str) -> frozenset[str]:
        """Say what a key allows; nothing for a wrong one.

        Every stored key is compared, each in constant time, so timing tells nothing.
        """
        self._refresh()
        allowed: frozenset[str] = frozenset()
        for stored in self._keys:
            if hmac.compare_digest(_digest(stored.salt, key), stored.digest):
                allowed |= stored.scopes
        return allowed

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, ()
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._keys = tuple(_stored(entry) for entry in _parse(self._path)["keys"])
            self._stamp = stamp


def _digest(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode("utf-8", "surrogatepass")).hexdigest()


def _stored(entry: dict[str, Any]) -> StoredKey:
    return StoredKey(entry["salt"], entry["sha256"], frozenset(entry["scopes"]))


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is not a key file: no JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a key file of format {FORMAT}")
    return content


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    flags = os.O_WRONLY | os.O_CREAT
    with open(os.open(path.with_name(f".{path.name}.lock"), flags, PRIVATE), "wb") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
