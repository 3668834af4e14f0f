"""Which bundles answer whom, as one note on the board; changes of it are pure functions."""

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from avrec.errors import AvrecError
from avrec.serving.board import Board

NAME = "models"


class RoutingError(AvrecError):
    """What is asked of the models cannot be done as things are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """Which versions answer."""

    active: str
    """Answers all that the candidate does not."""
    previous: str | None = None
    """Was active before, and is gone back to."""
    candidate: str | None = None
    """Is tried beside the active one."""
    share: float = 0.0
    """Of the people, from 0 to 1, who get the candidate's lists."""
    shadow: bool = False
    """Whether the candidate makes the lists of the others too, for comparison only."""
    salt: str = ""
    """Key of the hash by which people are chosen; of this candidate alone."""
    at: str = ""
    """When it came to this, ISO 8601."""
    why: str = ""
    """How it came to this."""

    def chosen(self, user_id: str | None) -> bool:
        """Tell whether a person gets the candidate; whoever does goes on to when `share` grows."""
        if self.candidate is None or user_id is None or self.share <= 0:
            return False
        text = user_id.encode("utf-8", "surrogatepass")
        digest = hmac.new(self.salt.encode(), text, hashlib.sha256).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64

    def versions(self) -> list[str]:
        """Those that answer or may have to."""
        return [one for one in (self.active, self.candidate, self.previous) if one]


def first(version: str) -> Routing:
    """Begin with a version."""
    return Routing(active=version, at=_now(), why="first")


def activated(routing: Routing, version: str) -> Routing:
    """Let a version answer everybody."""
    previous = routing.previous if version == routing.active else routing.active
    return Routing(active=version, previous=previous, at=_now(), why="activated")


def tried(routing: Routing, version: str, share: float, *, shadow: bool) -> Routing:
    """Let a version answer a share of the people, or shadow the active one."""
    if version == routing.active:
        raise RoutingError(f"{version} is active; it cannot be tried beside itself")
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, got {share}")
    salt = routing.salt if version == routing.candidate else secrets.token_hex(16)
    return replace(
        routing,
        candidate=version,
        share=share,
        shadow=shadow,
        salt=salt,
        at=_now(),
        why="tried",
    )


def rolled_back(routing: Routing, why: str = "rolled back") -> Routing:
    """Drop the candidate, or else go back to what was active before.

    Raises:
        RoutingError: there is neither.
    """
    if routing.candidate is not None:
        return Routing(active=routing.active, previous=routing.previous, at=_now(), why=why)
    if routing.previous is None:
        raise RoutingError("there is no version to go back to; activate one")
    return Routing(active=routing.previous, at=_now(), why=why)


def read(board: Board) -> tuple[Routing | None, int]:
    """Read the note and its number; None and 0 where there is none yet.

    Raises:
        StateError: the board cannot be used.
    """
    note = board.read(NAME)
    return (None, 0) if note is None else (parse(note.text), note.number)


def current(board: Board) -> tuple[Routing, int]:
    """Read the note and its number.

    Raises:
        RoutingError: there is none yet.
        StateError: the board cannot be used.
    """
    routing, number = read(board)
    if routing is None:
        raise RoutingError("no model is active yet; deploy the service first")
    return routing, number


def write(board: Board, routing: Routing, instead_of: int) -> None:
    """Write the note in the place of one of that number.

    Raises:
        RoutingError: somebody else was faster.
        StateError: the board cannot be used.
    """
    if not board.write(NAME, json.dumps(asdict(routing)), instead_of):
        raise RoutingError("somebody else has just changed which models answer; look and try again")


def parse(text: str) -> Routing:
    """Read the text of a note."""
    return Routing(**json.loads(text))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
