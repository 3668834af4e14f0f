"""Who asks, and when, beside the history: what a user tower joins to what it has read.

A field is rows of a table, of which row 0 is "unknown" and is learned as any other: from those of
whom it is not known, and from others, of whom training takes it for unknown at times.

    category   a row for each text that training met; another text is unknown
    number     a row at each of a few quantiles; between two of them, their mean by nearness, so
               that the map is a piecewise linear curve
    hour, weekday   a row for each, by the time of asking, which in training is that of the item
               to be foretold; UTC, or the person's time where `utc_offset_hours` is known

With `x` what the history says, `n` how many of its steps were read, and `f` the fields,

    k = sum_f T_f[row] + C[log2 n],     x' = x + k + mix([x, k])

at each step alike. Of the item to be foretold a step learns hour and weekday, and nothing else.
Without a history `x` is a learned vector, which is to find the first items of the histories whose
beginnings are trained on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from avrec.arrays import Array, Vectors
from avrec.interactions import Histories

HOUR, DAY = 3_600_000_000, 86_400_000_000
CONTEXT = {"hour": 24, "weekday": 7}
"""Fields of the moment, each with the number of its values."""
OFFSET = "utc_offset_hours"
KNOTS = 8
COUNTS = 12
ASKER = "asker"
"""Column of a batch, (n, num_profile + 1): places of the profile, and hours from UTC."""
Columns = Mapping[str, Array]


class Known(NamedTuple):
    """Places in the tables of fields, 0 for unknown.

    `profile` is of shape (n, num_profile), where 1.5 is half way between rows 1 and 2; `context`
    (n, length, num_context), or of length 1 for all steps.
    """

    profile: Tensor
    context: Tensor

    def to(self, device: torch.device) -> "Known":
        """The same on a device."""
        return Known(self.profile.to(device), self.context.to(device))

    def rows(self, chosen: Any) -> "Known":
        """Some of the rows."""
        return Known(self.profile[chosen], self.context[chosen])


@dataclass(frozen=True, slots=True)
class Coding:
    """How fields are laid out.

    `values` has, by field of the profile in order of name, the known texts, ascending, or the
    knots of a number; `context` names fields of the moment, in order of name.
    """

    values: Mapping[str, Array]
    context: tuple[str, ...]

    @classmethod
    def learned(
        cls, histories: Histories, profile: Iterable[str], context: Iterable[str]
    ) -> "Coding | None":
        """Look through the people of `histories`; None where no field is asked for."""
        known = histories.profile or {}
        values = {name: _values(known.get(name, np.array([], str))) for name in sorted(profile)}
        made = cls(values, tuple(sorted(context)))
        return made if made.sizes() else None

    @classmethod
    def of(cls, plain: Mapping[str, Any] | None) -> "Coding | None":
        """Read what `plain` gave."""
        if plain is None:
            return None
        values = {
            name: np.array(one["values"], float if one["number"] else str)
            for name, one in plain["profile"].items()
        }
        return cls(values, tuple(plain["context"]))

    def plain(self) -> dict[str, Any]:
        """What JSON can hold."""
        profile = {
            name: {"number": _is_number(one), "values": one.tolist()}
            for name, one in self.values.items()
        }
        return {"profile": profile, "context": list(self.context)}

    def sizes(self) -> list[int]:
        """Rows of each field's table, those of the profile first."""
        moments = [1 + CONTEXT[name] for name in self.context]
        return [1 + len(one) for one in self.values.values()] + moments

    def asker(self, histories: Histories) -> Vectors:
        """The column ASKER, one row a history."""
        told = histories.profile or {}
        known = [_places(told.get(name), one, len(histories)) for name, one in self.values.items()]
        offset = np.nan_to_num(told[OFFSET]) if OFFSET in told else np.zeros(len(histories))
        return np.column_stack([*known, offset]).astype(np.float32)

    def moments(self, at: Array, offset_hours: Array) -> Array:
        """Places of the context, (n, length, num_context), from times (n, length), 0 unknown."""
        local = at + (offset_hours[:, None].astype(np.float64) * HOUR).astype(np.int64)
        found = {"hour": local // HOUR % 24, "weekday": (local // DAY + 3) % 7}
        rows = np.zeros((*at.shape, len(self.context)), np.int64)
        for place, name in enumerate(self.context):
            rows[..., place] = np.where(at > 0, 1 + found[name], 0)
        return rows

    def columns(self, histories: Histories) -> dict[str, Array]:
        """`profile` and `context` of each row, at the time at which it asks."""
        asker, at = self.asker(histories), histories.asked_at
        moment = np.zeros(len(histories), np.int64) if at is None else at
        context = self.moments(moment[:, None], asker[:, -1])
        return {"profile": asker[:, :-1], "context": context}

    def known(self, histories: Histories) -> Known:
        """The same as tensors."""
        return known_of(self.columns(histories))

    def forgetful(
        self, batch: Mapping[str, Array], own: slice, rate: float, rng: np.random.Generator
    ) -> Columns:
        """`profile` and `context`, the latter at every `at`, of one's own rows of a batch.

        A share `rate` of the fields is taken for unknown, whoever owns the row.
        """
        width = len(self.values)
        drawn = rng.random((int(batch["row"].max()) + 1, width + len(self.context)))
        kept, asker = (drawn >= rate)[batch["row"][own]], batch[ASKER][own]
        at = batch["at"][own].reshape(len(asker), -1)
        context = self.moments(at, asker[:, -1]) * kept[:, None, width:]
        return {"profile": asker[:, :-1] * kept[:, :width], "context": context}


def known_of(columns: Columns) -> Known:
    """Columns `profile` and `context` as tensors."""
    profile, context = (np.ascontiguousarray(columns[name]) for name in ("profile", "context"))
    return Known(torch.from_numpy(profile), torch.from_numpy(context))


def _is_number(values: Array) -> bool:
    return values.dtype.kind == "f"


def _values(known: Array) -> Array:
    """Texts, ascending, or knots."""
    if not _is_number(known):
        return np.unique(known[known != ""])
    finite = known[np.isfinite(known)]
    knots = np.quantile(finite, np.linspace(0, 1, KNOTS)) if len(finite) else finite
    return np.unique(knots)


def _places(told: Array | None, values: Array, count: int) -> Array:
    """Place of each entry in a field's table; of another kind than in training it is unknown."""
    if told is None or not len(values) or _is_number(told) != _is_number(values):
        return np.zeros(count)
    if _is_number(values):
        place = np.interp(np.nan_to_num(told), values, np.arange(len(values)))
        return np.where(np.isfinite(told), 1 + place, 0)
    place = np.minimum(np.searchsorted(values, told), len(values) - 1)
    return np.where(values[place] == told, 1 + place, 0)


class Asker(nn.Module):
    """Joins the fields to what the history says."""

    def __init__(self, coding: Coding, dim: int) -> None:
        super().__init__()
        self.coding, sizes = coding, coding.sizes()
        self.first = tuple(accumulate(sizes[:-1], initial=0))
        self.table, self.counts = _table(sum(sizes), dim), _table(COUNTS, dim)
        self.nobody = nn.Parameter(0.02 * torch.randn(dim))
        self.mix = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, counts: Tensor, known: Known) -> Tensor:
        """Vectors of the shape of `x`, (n, length, dim), of which `counts` steps were read.

        `counts` is of shape (length) or (n, length).
        """
        logs = torch.log2(1 + counts.float()).long().clamp(max=COUNTS - 1)
        k = (self.counts(logs) + self._fields(known)).expand_as(x)
        mixed: Tensor = self.mix(torch.cat([x, k], dim=-1))
        return x + k + mixed

    def opening(self, known: Known) -> Tensor:
        """Vectors (n, dim) of those without a history."""
        num, device = len(known.profile), self.nobody.device
        x = self.nobody.expand(num, 1, -1)
        found: Tensor = self(x, torch.zeros(1, device=device), known)
        return found[:, 0]

    def _fields(self, known: Known) -> Tensor:
        """Sum of the rows of all fields, (n, length, dim)."""
        num = known.profile.shape[1]
        first = torch.tensor(self.first, device=known.profile.device)
        low = known.profile.floor()
        share = (known.profile - low)[..., None]
        below, above = (self.table(one.long() + first[:num]) for one in (low, known.profile.ceil()))
        profile = below + share * (above - below)
        context: Tensor = self.table(known.context + first[num:]).sum(dim=-2)
        return context + profile.sum(dim=-2)[:, None]


def made(coding: Coding | None, dim: int) -> Asker | None:
    """Make what joins the fields of a coding; None where there is none."""
    return None if coding is None else Asker(coding, dim)


def _table(rows: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=0.02)
    return table


def check(profile: Sequence[str], context: Sequence[str]) -> None:
    """Refuse names that are there twice, and moments that are none.

    Raises:
        ValueError: one is.
    """
    for name, fields in (("profile", profile), ("context", context)):
        if len(set(fields)) < len(fields):
            raise ValueError(f"{name} must name a field once, got {list(fields)}")
    unknown = [name for name in context if name not in CONTEXT]
    if unknown:
        raise ValueError(f"context must be among {tuple(CONTEXT)}, got {unknown[0]!r}")
