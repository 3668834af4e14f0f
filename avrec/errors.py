"""Errors that a caller may want to handle.

* AvrecError
  + ConfigError      a configuration names an unknown key or a wrong value
  + SchemaError      a table lacks a column, or holds it with another type
  + InputError       a user's file or folder cannot be used
  + MediaError       one media file cannot be probed or decoded; has a `kind`
  + ArtifactError    a saved artifact is absent, half-written, altered or of another version

A wrong argument is a ValueError; a broken invariant of our own is an assert.
"""


class AvrecError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(AvrecError):
    """A configuration names an unknown key or a wrong value."""


class SchemaError(AvrecError):
    """A table does not have the columns that its schema asks for."""


class InputError(AvrecError):
    """A user's file or folder cannot be used; the message says what to do."""


class MediaError(AvrecError):
    """A media file cannot be probed or decoded.

    `kind` is one of not_media, truncated, unsupported_codec, too_large, timeout, crashed,
    fetch_failed. `sha256` is that of the file, where it came as far as the sandbox.
    """

    def __init__(self, kind: str, message: str, sha256: str | None = None) -> None:
        super().__init__(kind, message, sha256)
        self.kind = kind
        self.message = message
        self.sha256 = sha256

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class ArtifactError(AvrecError):
    """A saved artifact is absent, half-written, altered or of another version."""
