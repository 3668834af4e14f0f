"""Where the time goes: what each stage of a run was busy with, which starves the others, the cost.

Actors add amounts to a Tally, whose contents travel as plain numbers; a Report sums them up. A
lane is what stages share: the decoding children, the actors that encode, or a pool. It is busy
for the seconds of all its stages, divided by how many there are of it and by the run's length.
CPU seconds of decoding are those of the decoding children; those of an encoder count every thread
that worked in its process meanwhile. GPU seconds are the length of calls to an encoder on a GPU.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

AMOUNTS = (
    *("seconds", "cpu_seconds", "gpu_seconds", "bytes_in", "bytes_out"),
    *("files", "media_seconds", "frames"),
)
HOUR = 3600.0
DECODE = "decode"
"""Name of the stage that every file passes, by which files and media seconds are counted."""
Amounts = dict[str, float]


class Lane(NamedTuple):
    """What stages share, and how many there are of it."""

    name: str
    number: int


class Tally:
    """Amounts by stage, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, Amounts] = {}

    def add(self, stage: str, **amounts: float) -> None:
        """Add to a stage's amounts, named as in AMOUNTS."""
        with self._lock:
            _add(self._stages.setdefault(stage, {}), amounts)

    @contextmanager
    def busy(self, stage: str, *, on_gpu: bool = False, on_cpu: bool = True) -> Iterator[None]:
        """Count the seconds of a block, and the CPU seconds of this process meanwhile."""
        start, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.add(
                stage,
                seconds=seconds,
                cpu_seconds=(time.process_time() - cpu) * on_cpu,
                gpu_seconds=seconds * on_gpu,
            )

    def take(self) -> dict[str, Amounts]:
        """Give what was added since the last time."""
        with self._lock:
            taken, self._stages = self._stages, {}
        return taken


@dataclass(slots=True)
class Report:
    """What a run did so far.

    `lane_of` names the lane of each stage; a stage without one is a lane of its own.
    """

    lane_of: Mapping[str, Lane]
    start_seconds: float = 0.0
    """Time before the first actor was ready."""
    wall_seconds: float = 0.0
    """Time from then on."""
    stages: dict[str, Amounts] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, stages: Mapping[str, Mapping[str, float]], errors: Mapping[str, int]) -> None:
        """Add what a Tally gave, and failures by kind."""
        for stage, amounts in stages.items():
            _add(self.stages.setdefault(stage, {}), amounts)
        self.errors.update(errors)

    def total(self, amount: str) -> float:
        """An amount over all stages."""
        return float(sum(amounts.get(amount, 0.0) for amounts in self.stages.values()))

    def decoded(self, amount: str) -> float:
        """An amount of the stage that decodes: files, media seconds or frames."""
        return self.stages.get(DECODE, {}).get(amount, 0.0)

    def busy_share(self, stage: str) -> float:
        """Share of the run, from 0 to 1, that a stage kept its lane busy."""
        available = self.wall_seconds * self._lane(stage).number
        return self.stages[stage].get("seconds", 0.0) / available if available else 0.0

    def lane_share(self, lane: str) -> float:
        """Share of the run that a lane was busy."""
        mine = [stage for stage in self.stages if self._lane(stage).name == lane]
        return sum(self.busy_share(stage) for stage in mine)

    def bottleneck(self) -> str | None:
        """The busiest stage of the busiest lane, for which the others wait; None if none ran."""
        if not self.stages:
            return None
        lanes = {stage: self.lane_share(self._lane(stage).name) for stage in self.stages}
        return max(sorted(self.stages), key=lambda stage: (lanes[stage], self.busy_share(stage)))

    def cost_per_media_hour(self) -> dict[str, float]:
        """CPU seconds, GPU seconds and bytes read for an hour of media; none for no media."""
        hours = self.decoded("media_seconds") / HOUR
        names = ("cpu_seconds", "gpu_seconds", "bytes_in")
        return {name: self.total(name) / hours for name in names} if hours else {}

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {
            "start_seconds": self.start_seconds,
            "wall_seconds": self.wall_seconds,
            "files": self.decoded("files"),
            "media_seconds": self.decoded("media_seconds"),
            "errors": dict(sorted(self.errors.items())),
            "bottleneck": self.bottleneck(),
            "cost_per_media_hour": self.cost_per_media_hour(),
            "stages": [self._stage(name) for name in self.stages],
        }

    def _stage(self, name: str) -> dict[str, Any]:
        lane, amounts = self._lane(name), self.stages[name]
        told = {amount: amounts.get(amount, 0.0) for amount in AMOUNTS}
        share = self.busy_share(name)
        return {"name": name, "lane": lane.name, "lanes": lane.number, "busy_share": share, **told}

    def _lane(self, stage: str) -> Lane:
        return self.lane_of.get(stage, Lane(stage, 1))


def _add(into: Amounts, amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        into[name] = into.get(name, 0.0) + amount
