"""What is known of people beside what they do: a table of their own, with fields of any name.

A field is a category, one text a user, or a number. What is not known has no row, and what is said
of nobody is no field.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec import tabular
from avrec.arrays import Array, Idx
from avrec.errors import InputError
from avrec.interactions import Histories, Profile
from avrec.schema import USERS, conform
from avrec.store import Workspace
from avrec.vocab import Vocabulary

LONGEST = 64
"""Characters of a category; what is longer is cut."""
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass(frozen=True, kw_only=True, slots=True)
class UsersConfig:
    """Where profiles are, and what of them is read."""

    uri: str = ""
    """Table (Parquet, CSV or JSONL) with `user_id` and the fields below; empty is none."""
    columns: dict[str, str] = field(default_factory=dict)
    """The file's name for `user_id` or a field, where it is another one."""
    categories: tuple[str, ...] = ()
    """Fields that are categories, such as sex, age band, country, language or subscription."""
    numbers: tuple[str, ...] = ()
    """Fields that are numbers. `utc_offset_hours`, where it is one, tells a person's time of
    day."""

    def __post_init__(self) -> None:
        names = [*self.categories, *self.numbers]
        if len(set(names)) < len(names):
            raise ValueError(f"categories and numbers must name a field once, got {names}")
        if self.uri and not names:
            raise ValueError("categories or numbers must name a field of the users, got none")


def read_users(config: UsersConfig) -> pa.Table:
    """Read USERS; of a user who is there more than once the last row counts.

    Raises:
        InputError: the file is absent or no table, or lacks a field.
    """
    table = tabular.read(config.uri, config.columns)
    names = [*config.categories, *config.numbers]
    lacking = [name for name in ("user_id", *names) if name not in table.column_names]
    if lacking:
        raise InputError(
            f"{config.uri} has no column {lacking[0]!r}; it has {table.column_names}: "
            f'write [users.columns] {lacking[0]} = "one of them"'
        )
    ids = _texts(table["user_id"])
    table = table.filter(_last_of_each(ids))
    ids = _texts(table["user_id"])
    parts = [_rows(ids, name, "value", _category(table[name])) for name in config.categories]
    parts += [_rows(ids, name, "number", _numbers(table[name])) for name in config.numbers]
    return pa.concat_tables([USERS.empty_table(), *parts])


def without(users: pa.Table, user_ids: pa.ChunkedArray) -> pa.Table:
    """Leave some users out of USERS."""
    return users.filter(pc.invert(pc.is_in(users["user_id"], value_set=user_ids)))


def profiles(users: pa.Table, vocabulary: Vocabulary) -> Profile:
    """Lay USERS out by field, one entry a user of the vocabulary."""
    table = conform(users, USERS)
    table = table.filter(pc.is_in(table["user_id"], value_set=vocabulary.ids))
    found = {}
    for name in pc.unique(table["field"]).sort().to_pylist():
        some = table.filter(pc.equal(table["field"], name))
        found[name] = _entries(some, vocabulary.idx(some["user_id"]), len(vocabulary))
    return found


def read(workspace: Workspace, names: Sequence[str] = ()) -> pa.Table | None:
    """USERS of a workspace, None where nobody is described.

    Raises:
        InputError: one of `names` is no field of anybody.
    """
    table = workspace.read_table("users", USERS) if workspace.has("users") else None
    known = [] if table is None else pc.unique(table["field"]).to_pylist()
    for name in names:
        if name not in known:
            raise InputError(
                f"[towers] profile names {name!r}, which is known of nobody; known are "
                f"{sorted(known)}: name it in [users] and run jobs.users"
            )
    return table


def told(histories: Histories, vocabulary: Vocabulary, users: pa.Table | None) -> Histories:
    """Histories, one row a user of the vocabulary, with their profiles."""
    return histories if users is None else replace(histories, profile=profiles(users, vocabulary))


def _entries(some: pa.Table, row: Idx, count: int) -> Array:
    if some["number"].null_count < len(some):
        numbers = np.full(count, np.nan)
        numbers[row] = some["number"].to_numpy()
        return numbers
    values = np.array(some["value"].to_pylist(), str)
    texts = np.full(count, "", values.dtype)
    texts[row] = values
    return texts


def _rows(ids: pa.ChunkedArray, name: str, kind: str, values: pa.ChunkedArray) -> pa.Table:
    columns = {"user_id": ids, "field": pa.repeat(name, len(ids)), kind: values}
    return conform(pa.table(columns).filter(pc.is_valid(values)), USERS)


def _last_of_each(ids: pa.ChunkedArray) -> pa.Array:
    place = {user_id: row for row, user_id in enumerate(ids.to_pylist()) if user_id}
    kept = np.zeros(len(ids), bool)
    kept[list(place.values())] = True
    return pa.array(kept)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _category(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(_texts(column), 0, LONGEST)


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read as float64; what is no finite number is null."""
    text = pc.cast(column, pa.string())
    good = pc.match_substring_regex(text, NUMBER)
    nothing = pa.scalar(None, pa.string())
    return pc.cast(pc.utf8_trim_whitespace(pc.if_else(good, text, nothing)), pa.float64())
