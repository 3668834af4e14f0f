"""Keys of the service: made here, shown once, stored only as salted hashes.

A key is 32 random bytes, so it cannot be guessed and needs no slow hash: one SHA-256 over salt and
key is as hard to turn back as the key is to guess, and costs a microsecond a request. (Scrypt is
for passwords, which people choose.)

The file is JSON of mode 0600, replaced in one step; keys may be added or struck out while the
service runs. A key may belong to a tenant, whose people are nobody else's: see `Grant.own`.
Nothing here logs a key, and people appear in logs only as `Keys.pseudonym` calls them.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avrec.errors import ConfigError

FORMAT = 1
READ, EVENTS, ADMIN = "read", "events", "admin"
SCOPES = (READ, EVENTS, ADMIN)
DEFAULT = (READ, EVENTS)
TENANT = re.compile(r"[A-Za-z0-9._-]{0,64}")
OF = "\x1f"
"""Stands between a tenant and an id of its own; the ids that people send never hold it."""
ID_LENGTH = 12
PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What a key allows."""

    key_id: str
    """Names the key in logs and lists; its first digits as stored, which open nothing."""
    scopes: frozenset[str]
    """Some of SCOPES."""
    tenant: str = ""
    """Whose key it is; empty: the house's own."""
    per_second: float | None = None
    """Requests that it may make in a second; None: as many as the service lets any key make."""

    def own(self, one: str) -> str:
        """Name a user or event of this tenant so that no other tenant can name it."""
        return f"{self.tenant}{OF}{one}" if self.tenant else one


class StoredKey(NamedTuple):
    """What is kept of a key: enough to recognise it, too little to use it."""

    salt: str
    digest: str
    grant: Grant


def create_key(
    path: Path,
    scopes: Sequence[str] = DEFAULT,
    *,
    tenant: str = "",
    per_second: float | None = None,
) -> str:
    """Add a key to the file at `path`, which is made if absent, and return it: the only time.

    Two calls at once add two keys.

    Raises:
        ConfigError: the file is there but is not a key file.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValueError(f"scopes must be some of {SCOPES}, got {tuple(scopes)}")
    if not TENANT.fullmatch(tenant):
        raise ValueError(f"tenant must be up to 64 of A-Z a-z 0-9 . _ -, got {tenant!r}")
    if per_second is not None and not per_second > 0:
        raise ValueError(f"per_second must be above 0, got {per_second}")
    key, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
    entry = {
        "salt": salt,
        "sha256": _digest(salt, key),
        "scopes": sorted(scopes),
        "tenant": tenant,
        "per_second": per_second,
    }
    with _changed(path) as content:
        content["keys"].append(entry)
    return key


def revoke_key(path: Path, key_id: str) -> None:
    """Strike a key out; a running service refuses it from its next request on.

    Raises:
        ConfigError: there is no such key, or the file is not a key file.
    """
    with _changed(path) as content:
        left = [entry for entry in content["keys"] if _stored(entry).grant.key_id != key_id]
        if len(left) == len(content["keys"]):
            raise ConfigError(f"{path} holds no key {key_id!r}")
        content["keys"] = left


def grants(path: Path) -> list[Grant]:
    """What each key of a file allows, in the order in which they were made.

    Raises:
        ConfigError: it is not a key file.
    """
    return [_stored(entry).grant for entry in _parse(path)["keys"]] if path.exists() else []


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
        self._secret = secrets.token_bytes(32)
        self._refresh()
        if not self._keys:
            raise ConfigError(f"no keys in {path}; make one: python -m jobs.keys --keys {path} add")

    def grant(self, key: str) -> Grant | None:
        """Say what a key allows; None for a wrong one.

        Every stored key is compared, each in constant time, so timing tells nothing.
        """
        self._refresh()
        found = None
        for stored in self._keys:
            if hmac.compare_digest(_digest(stored.salt, key), stored.digest):
                found = stored.grant
        return found

    def granted(self, key_id: str) -> Grant | None:
        """Say what the key of that name allows; None where there is none any more."""
        self._refresh()
        found = (stored.grant for stored in self._keys if stored.grant.key_id == key_id)
        return next(found, None)

    def sign(self, text: str) -> str:
        """Sign a text, so that no one without the key file can have signed it."""
        own = hmac.digest(self._secret, b"signature", "sha256")
        return hmac.new(own, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def pseudonym(self, user_id: str) -> str:
        """Name a user for logs: the same for the same one, and no way back without the key file."""
        text = user_id.encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:16]

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, ()
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            content = _parse(self._path)
            self._keys = tuple(_stored(entry) for entry in content["keys"])
            if "log_secret" in content:
                self._secret = bytes.fromhex(content["log_secret"])
            self._stamp = stamp


def _digest(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode("utf-8", "surrogatepass")).hexdigest()


def _stored(entry: dict[str, Any]) -> StoredKey:
    grant = Grant(
        key_id=entry["sha256"][:ID_LENGTH],
        scopes=frozenset(entry["scopes"]),
        tenant=entry.get("tenant", ""),
        per_second=entry.get("per_second"),
    )
    return StoredKey(entry["salt"], entry["sha256"], grant)


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{path} is not a key file: no JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a key file of format {FORMAT}")
    return content


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, Any]]:
    """Lend the contents of the file at `path`, and write them back when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT
    with open(os.open(path.with_name(f".{path.name}.lock"), flags, PRIVATE), "wb") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = _parse(path) if path.exists() else {"format": FORMAT, "keys": []}
        content.setdefault("log_secret", secrets.token_hex(32))
        yield content
        write_private(path, json.dumps(content, indent=1).encode())
