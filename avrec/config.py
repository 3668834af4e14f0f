"""A run's configuration: one TOML file, one tree of frozen dataclasses."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from avrec.alike import DuplicatesConfig
from avrec.baselines import BaselinesConfig
from avrec.clean import CleanConfig
from avrec.embed.describe.config import DescribeConfig
from avrec.embed.encoder import EmbedConfig
from avrec.errors import ConfigError
from avrec.evaluate import EvaluateConfig
from avrec.events import EventsConfig
from avrec.feedback import FeedbackConfig
from avrec.index_ann import IndexConfig
from avrec.media.files import MediaConfig
from avrec.models.als import ALSConfig
from avrec.models.bpr import BPRConfig
from avrec.models.cold import ColdConfig
from avrec.models.fields import FieldsConfig
from avrec.models.neighbours import NeighboursConfig
from avrec.models.ranker import RankerConfig
from avrec.models.svd import SVDConfig
from avrec.models.towers_net import TowersConfig
from avrec.recommend import BatchConfig, RecommendConfig
from avrec.report.findings import ReportConfig
from avrec.sample.write import SampleConfig
from avrec.splits import SplitConfig
from avrec.store import join
from avrec.tuning import TuneConfig
from avrec.users import UsersConfig
from avrec.workers import WorkersConfig

T = TypeVar("T")
WORKSPACE = "{workspace}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything that a run may set; each section is owned by the module that reads it."""

    workspace: str = ".avrec/workspace"
    """Root of the tables and models: a local path or a `pyarrow.fs` URI."""
    keep_versions: int = 0
    """Finished versions of each artifact that `jobs.pipeline` leaves when it ends, the current one
    among them; what these were made from, and what was replaced within a day, stays too. 0 keeps
    all."""
    served_by: str = ""
    """State of the service that serves from here, as in cluster/serve.yaml. Versions that it
    answers with or may go back to stay too; where it names none, nothing is removed."""
    served_by_password: str = ""
    """File of the password of that state, where it is Redis and asks for one."""
    seed: int = 0
    """Seed from which every stage derives its own generator."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """Section `[sample]`."""
    media: MediaConfig = field(default_factory=MediaConfig)
    """Section `[media]`."""
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    """Section `[embed]`."""
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    """Section `[duplicates]`."""
    describe: DescribeConfig = field(default_factory=DescribeConfig)
    """Section `[describe]`."""
    events: EventsConfig = field(default_factory=EventsConfig)
    """Section `[events]`."""
    users: UsersConfig = field(default_factory=UsersConfig)
    """Section `[users]`."""
    clean: CleanConfig = field(default_factory=CleanConfig)
    """Section `[clean]`."""
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)
    """Section `[feedback]`."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Section `[split]`."""
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    """Section `[workers]`."""
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    """Section `[fields]`."""
    als: ALSConfig = field(default_factory=ALSConfig)
    """Section `[als]`."""
    cold: ColdConfig = field(default_factory=ColdConfig)
    """Section `[cold]`."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Section `[evaluate]`."""
    towers: TowersConfig = field(default_factory=TowersConfig)
    """Section `[towers]`."""
    ranker: RankerConfig = field(default_factory=RankerConfig)
    """Section `[ranker]`."""
    recommend: RecommendConfig = field(default_factory=RecommendConfig)
    """Section `[recommend]`."""
    index: IndexConfig = field(default_factory=IndexConfig)
    """Section `[index]`."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    """Section `[batch]`."""
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    """Section `[baselines]`."""
    svd: SVDConfig = field(default_factory=SVDConfig)
    """Section `[svd]`."""
    bpr: BPRConfig = field(default_factory=BPRConfig)
    """Section `[bpr]`."""
    neighbours: NeighboursConfig = field(default_factory=NeighboursConfig)
    """Section `[neighbours]`."""
    tune: TuneConfig = field(default_factory=TuneConfig)
    """Section `[tune]`."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """Section `[report]`."""
    stages: tuple[str, ...] = (
        "probe",
        "describe",
        "embed",
        "duplicates",
        "users",
        "interactions",
        "train_als",
        "train_towers",
        "train_ranker",
        "evaluate",
        "index",
        "recommend",
        "report",
    )
    """What `jobs/pipeline.py` runs, in order; each is the name of a job. `train_baselines`, put
    before "evaluate", adds to what it compares."""

    def __post_init__(self) -> None:
        if self.keep_versions < 0:
            raise ValueError(f"keep_versions must be at least 0, got {self.keep_versions}")


def load(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a TOML file, then apply overrides such as `als.dim=32`, each a line of TOML.

    A string that begins with `{workspace}/` names a file below the run's workspace.

    Raises:
        ConfigError: the file is absent or no TOML, a key is unknown, or a value is of the wrong
            type or out of range.
    """
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        values = _merge(values, _parse_override(override))
    workspace = values.get("workspace", RunConfig().workspace)
    return build(RunConfig, _expand(values, workspace) if isinstance(workspace, str) else values)


def build(kind: type[T], values: Mapping[str, Any], at: str = "") -> T:
    """Make a dataclass tree from plain values.

    Raises:
        ConfigError: as for `load`; the message names the path of the key.
    """
    known = get_type_hints(kind)
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown key {at}{unknown[0]!r}; {meant}known are {sorted(known)}")
    made = {key: _value(known[key], value, f"{at}{key}") for key, value in values.items()}
    try:
        return kind(**made)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{at}{error}") from error


def _value(kind: Any, value: Any, at: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return build(kind, _checked(value, dict, at), at=f"{at}.")
    if get_origin(kind) is tuple:
        each = get_args(kind)[0]
        values = enumerate(_checked(value, list, at))
        return tuple(_value(each, one, f"{at}[{n}]") for n, one in values)
    if get_origin(kind) is dict:
        each = get_args(kind)[1]
        entries = _checked(value, dict, at).items()
        return {key: _value(each, one, f"{at}.{key}") for key, one in entries}
    return _checked(value, kind, at)


def _expand(value: Any, workspace: str) -> Any:
    if isinstance(value, str) and value.startswith(f"{WORKSPACE}/"):
        return join(workspace, value.removeprefix(f"{WORKSPACE}/"))
    if isinstance(value, list):
        return [_expand(one, workspace) for one in value]
    if isinstance(value, dict):
        return {key: _expand(one, workspace) for key, one in value.items()}
    return value


def _checked(value: Any, kind: type, at: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind and kind is not object:  # what may be anything, its section checks
        wanted = "a table" if kind is dict else "a list" if kind is list else kind.__name__
        raise ConfigError(f"{at} is {value!r}, expected {wanted}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{at} is {value!r}, expected a finite number")
    return value


def _parse_override(override: str) -> dict[str, Any]:
    try:
        return tomllib.loads(override)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"override {override!r} is not a line of TOML: {error}") from error


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged
