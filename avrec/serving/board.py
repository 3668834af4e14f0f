"""Notes that all replicas read: which bundles answer, and what became of the catalogue.

A note is a text under a name. Each change of any note has a number, above all that came before it,
so whoever asks for what changed after the last number that they saw misses nothing.
`SQLiteBoard` and `RedisBoard` lie where the state lies.
"""

from typing import NamedTuple, Protocol

MAX_NOTES = 1000


class Note(NamedTuple):
    """A text under a name, and the number of its last change, from 1."""

    name: str
    number: int
    text: str


class Board(Protocol):
    """Durable notes; any replica sees what any other has written, at once.

    Every method raises StateError where the state cannot be used; then a note is as it was, or as
    it was to be.
    """

    def write(self, name: str, text: str, instead_of: int | None = None) -> int:
        """Write a note, durably, and return its number.

        A note that says the same already stays as it is. With `instead_of` it is written only if
        its last change has that number, 0 being that of a note that is not there; otherwise
        nothing changes and 0 is returned.
        """
        ...

    def read(self, name: str) -> Note | None:
        """Give a note, None where there is none."""
        ...

    def since(self, number: int, most: int = MAX_NOTES) -> list[Note]:
        """Give the first `most` notes whose last change is after `number`, in its order."""
        ...
