"""Search for settings: the space, the trials, and how one is judged.

A trial fits one model with one setting on the earlier part of `train` and is judged on the later
part, cut off in time: full ranking, all that the user had left out. What `rank` and `test` hold
plays no part. A space has one entry a key, `section.field`, all of one section:

    [tune.space]
    "als.dim" = [64, 128]                                    # one of these
    "als.reg" = { low = 0.0001, high = 0.1, log = true }     # anything from low to high
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from avrec import baselines
from avrec.errors import ConfigError, InputError
from avrec.evaluate import RELEVANCE, Case, cases, hits_of, lists_of
from avrec.factors import Factors, Retriever
from avrec.index import Lister
from avrec.interactions import weight_matrix
from avrec.models import als
from avrec.models.als import ALSConfig
from avrec.models.bpr import BPRConfig
from avrec.models.neighbours import NeighboursConfig
from avrec.models.svd import SVDConfig
from avrec.schema import TRIALS, conform
from avrec.splits import SplitConfig, by_time
from avrec.vocab import Vocabulary

SEARCHES = ("grid", "random", "tpe")
SECTIONS = ("als", "svd", "bpr", "neighbours")
DRAWS_PER_TRIAL = 100

Plain = str | int | float | bool
Setting = Mapping[str, Plain]
Section = ALSConfig | SVDConfig | BPRConfig | NeighboursConfig
OnEpoch = Callable[[Retriever | Lister], None]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log is true, got {self.low}")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one, evenly, or evenly in its logarithm."""
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            value = min(max(value, self.low), self.high)
            return round(value) if self.whole else value
        if self.whole:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        return rng.uniform(self.low, self.high)


Space = Mapping[str, tuple[Plain, ...] | Range]


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneConfig:
    """What is searched, how, and by what measure."""

    space: dict[str, object] = field(
        default_factory=lambda: {
            "als.reg": {"low": 0.0003, "high": 0.1, "log": True},
            "als.unobserved_weight": {"low": 0.01, "high": 3.0, "log": True},
        }
    )
    """What may vary: a list of values, or { low, high, log }, for each "section.field"."""
    search: str = "random"
    """How trials are chosen: "grid", every combination of lists; "random"; or "tpe", each in the
    light of those before (needs `avrec[tune]`)."""
    num_trials: int = 24
    """How many; a grid is tried whole."""
    metric: str = "ndcg"
    """What is to be high: recall, ndcg, mrr or hit_rate."""
    k: int = 10
    """Length of list that the metric looks at."""
    validation_share: float = 0.1
    """Share of `train`, the latest, that trials are judged by."""
    max_users: int = 5000
    """Users who judge, drawn from those with something relevant; fewer are faster."""
    grace_epochs: int = 3
    """Epochs before a trial may be stopped because others do better (ASHA)."""
    reduction_factor: float = 3.0
    """At each rung, one trial in so many goes on; rungs are grace_epochs times its powers."""
    num_concurrent: int = 2
    """Trials at a time; with "tpe", more of them means less to learn from."""
    num_cpus: float = 1.0
    """CPUs of a trial."""

    def __post_init__(self) -> None:
        for key in ("num_trials", "k", "max_users", "grace_epochs", "num_concurrent"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        if self.metric not in RELEVANCE:
            raise ValueError(f"metric must be one of {[*RELEVANCE]}, got {self.metric!r}")
        if not self.reduction_factor > 1:
            raise ValueError(f"reduction_factor must be above 1, got {self.reduction_factor}")
        if not self.num_cpus > 0:
            raise ValueError(f"num_cpus must be above 0, got {self.num_cpus}")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must be in (0, 1), got {self.validation_share}")
        _check_space(parse_space(self.space), self.search)

    @property
    def section(self) -> str:
        """Name of the section that is tuned."""
        return next(iter(self.space)).split(".")[0]


class Validation(NamedTuple):
    """What trials learn from, users in rows, and what they are judged by."""

    items: Vocabulary
    weights: csr_array
    case: Case


class Trial(NamedTuple):
    """What became of one setting; `value` is None where the fit failed."""

    setting: Setting
    value: float | None
    rounds: int
    stopped_early: bool
    seconds: float
    error: str | None = None

    @property
    def key(self) -> str:
        """Short name of the setting."""
        return key_of(self.setting)


def parse_space(space: Mapping[str, object]) -> Space:
    """Check a space as it stands in TOML.

    Raises:
        ValueError: it is empty, of more than one section, or an entry is neither list nor range.
    """
    if not space:
        raise ValueError("space must have at least one entry")
    for key in space:
        section, dot, name = key.partition(".")
        if not dot or "." in name:
            raise ValueError(f'space needs quoted keys such as "als.reg", got {key!r}')
        if section not in SECTIONS:
            raise ValueError(f"space can vary {SECTIONS}, got {key!r}")
    sections = sorted({key.split(".")[0] for key in space})
    if len(sections) > 1:
        raise ValueError(f"space must be of one section, got {sections}")
    return {key: _entry(key, entry) for key, entry in space.items()}


def _check_space(space: Space, search: str) -> None:
    if search not in SEARCHES:
        raise ValueError(f"search must be one of {SEARCHES}, got {search!r}")
    ranges = [key for key, entry in space.items() if isinstance(entry, Range)]
    if search == "grid" and ranges:
        raise ValueError(f"a grid needs lists, but {ranges[0]!r} is a range")


def _entry(key: str, entry: object) -> tuple[Plain, ...] | Range:
    if isinstance(entry, list | tuple) and entry:
        if all(isinstance(value, str | int | float | bool) for value in entry):
            return tuple(entry)
    elif isinstance(entry, dict) and {"low", "high"} <= entry.keys() <= {"low", "high", "log"}:
        ends = entry["low"], entry["high"]
        if all(type(end) in (int, float) for end in ends) and type(entry.get("log", True)) is bool:
            return Range(**entry)
    raise ValueError(f"space.{key!r} must be a list or {{ low, high, log }}, got {entry!r}")


def settings(space: Space, search: str, num_trials: int, seed: int) -> list[Setting]:
    """List the settings of a grid, or draw different ones at random; fewer where there are fewer.

    A longer list begins with the shorter one.
    """
    if search == "grid":
        choices = [entry for entry in space.values() if not isinstance(entry, Range)]
        return [dict(zip(space, row, strict=True)) for row in itertools.product(*choices)]
    drawn: dict[str, Setting] = {}
    for n in range(num_trials * DRAWS_PER_TRIAL):
        rng = np.random.default_rng([seed, n])
        one = {key: _draw(entry, rng) for key, entry in space.items()}
        drawn.setdefault(key_of(one), one)
        if len(drawn) == num_trials:
            break
    return list(drawn.values())


def _draw(entry: tuple[Plain, ...] | Range, rng: np.random.Generator) -> Plain:
    return entry.draw(rng) if isinstance(entry, Range) else entry[int(rng.integers(len(entry)))]


def key_of(setting: Setting) -> str:
    """Name a setting, the same whatever the order of its keys."""
    text = json.dumps(dict(setting), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def applied(base: Section, setting: Setting) -> Section:
    """Put a setting into a section.

    Raises:
        ConfigError: the section has no such field, or not of this type, or not of this value.
    """
    known = {one.name for one in fields(base)}
    changes = {}
    for key, value in setting.items():
        name = key.split(".")[1]
        if name not in known:
            raise ConfigError(f"unknown key {key!r}; known are {sorted(known)}")
        kind = type(getattr(base, name))
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ConfigError(f"{key} is {value!r}, expected {kind.__name__}")
        changes[name] = kind(value)
    try:
        return replace(base, **changes)
    except ValueError as error:
        raise ConfigError(f"{next(iter(setting)).split('.')[0]}.{error}") from error


def validation(train: pa.Table, items: Vocabulary, config: TuneConfig, *, seed: int) -> Validation:
    """Cut `train` in time, and draw the users who judge.

    Raises:
        InputError: there is nobody to judge.
    """
    share = SplitConfig(rank_share=0.0, test_share=config.validation_share)
    split = by_time(train, share)
    case = cases(split, items)[0]
    if len(case.users) > config.max_users:
        rng = np.random.default_rng(seed)
        some = np.sort(rng.choice(len(case.users), config.max_users, replace=False))
        case = case.take(some.astype(np.int32))
    if not len(case.users):
        raise InputError("nobody took to anything new in the validation part; give more events")
    return Validation(items, weight_matrix(split.train, items).weights, case)


def judge(model: Retriever | Lister, case: Case, config: TuneConfig) -> float:
    """Mean of the metric over the users of the case."""
    lists = lists_of([model], case, config.k)[model.name]
    hits, num_relevant = hits_of(lists, case.relevant, len(case.counts)), case.relevant.lengths()
    values = RELEVANCE[config.metric](hits, num_relevant, config.k)
    return float(values.mean())


def rounds(section: Section) -> int:
    """How often `learn` shows its model: ALS after each epoch, the others when they are done."""
    return section.epochs if isinstance(section, ALSConfig) else 1


def most_rounds(base: Section, space: Space) -> int:
    """The most `rounds` that a setting of the space can ask for."""
    entry = space.get("als.epochs", (rounds(base),))
    return int(entry.high) if isinstance(entry, Range) else max(int(value) for value in entry)


def learn(
    task: Validation, section: Section, on_epoch: OnEpoch, *, seed: int, threads: int = 1
) -> None:
    """Fit the model that the section is of, and show it `rounds` times."""
    items, weights = task.items, task.weights
    if isinstance(section, ALSConfig):
        als.fit(
            weights,
            section,
            rng=np.random.default_rng(seed),
            on_epoch=lambda epoch: on_epoch(als.ALS(Factors(items, epoch.items), section)),
            threads=threads,
        )
    else:
        on_epoch(baselines.fit(weights, items, section, seed=seed))


def table(trials: Iterable[Trial], metric: str, k: int) -> pa.Table:
    """Lay trials out as TRIALS, the best first, those without a value last."""
    rows = sorted(trials, key=lambda one: (one.value is None, -(one.value or 0), one.key))
    columns: dict[str, list[object]] = {
        "trial": [one.key for one in rows],
        "setting": [json.dumps(dict(one.setting), sort_keys=True) for one in rows],
        "metric": [metric] * len(rows),
        "k": [k] * len(rows),
        "value": [one.value for one in rows],
        "rounds": [one.rounds for one in rows],
        "stopped_early": [one.stopped_early for one in rows],
        "seconds": [one.seconds for one in rows],
        "error": [one.error for one in rows],
    }
    return conform(pa.table(columns), TRIALS)


def format_trials(trials: pa.Table, most: int = 20) -> str:
    """Lay the best trials out as text, a line each."""
    lines = []
    for row in trials.slice(0, most).to_pylist():
        value = (
            "failed" if row["value"] is None else f"{row['metric']}@{row['k']} {row['value']:.4f}"
        )
        setting = " ".join(
            f"{key}={_short(one)}" for key, one in json.loads(row["setting"]).items()
        )
        note = "stopped early" if row["stopped_early"] else row["error"]
        end = f", {note}" if note else ""
        lines.append(f"{value}  {setting}  rounds={row['rounds']}{end}")
    return "\n".join([*lines, *([f"and {len(trials) - most} more"] if len(trials) > most else [])])


def _short(value: Plain) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def best(trials: pa.Table) -> Setting:
    """Take the setting of the best trial of `table` that ran to its end.

    Raises:
        InputError: none did.
    """
    for row in trials.to_pylist():
        if row["value"] is not None and not row["stopped_early"]:
            setting: Setting = json.loads(row["setting"])
            return setting
    raise InputError("no trial ran to its end; look at the errors in `trials`")


def as_toml(setting: Setting) -> str:
    """Write a setting as a section to paste into the file of a run."""
    section = next(iter(setting)).split(".")[0]
    lines = [f"{key.split('.')[1]} = {json.dumps(value)}" for key, value in setting.items()]
    return "\n".join([f"[{section}]", *lines])
