"""What the service says of itself: versions, counts since it started, the index."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from avrec import __version__
from avrec.index import Scan
from avrec.index_ann import Searcher
from avrec.serving.meters import Meters
from avrec.serving.service import Service


class Stage(BaseModel):
    """A stage of requests; bucket i counts those of at most `edges[i]` seconds, the last all."""

    count: float
    seconds: float
    edges: list[float]
    buckets: list[float]


class Retrieving(BaseModel):
    """One source of candidates."""

    name: str
    items: int | None = Field(description="With a vector; absent where it has none.")
    dim: int | None
    search: str


class Status(BaseModel):
    """The service at a moment."""

    code: str
    model: str
    policy: str
    versions: list[str] = Field(description="That are here, the active one among them.")
    items: int
    people: int
    requests: float
    failed: float = Field(description="Of those, answered with a status from 500.")
    stages: dict[str, Stage]
    index: list[Retrieving]


def status_of(service: Service, meters: Meters, versions: list[str]) -> Status:
    """Collect it."""
    bundle, made = service.bundle, service.bundle.recommender
    answered = [s for s in meters.samples() if s.name == "avrec_requests_total"]
    return Status(
        code=__version__,
        model=bundle.version,
        policy=made.policy,
        versions=versions,
        items=len(bundle.vocabulary),
        people=len(bundle.users.users),
        requests=sum(s.value for s in answered),
        failed=sum(s.value for s in answered if s.labels["status"].startswith("5")),
        stages=_stages(meters),
        index=[_retrieving(one, made.searchers) for one in made.retrievers],
    )


def _stages(meters: Meters) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for sample in meters.samples():
        if not sample.name.startswith("avrec_stage_seconds"):
            continue
        empty = Stage(count=0, seconds=0, edges=[], buckets=[])
        stage = found.setdefault(sample.labels["stage"], empty)
        if sample.name.endswith("_bucket") and sample.labels["le"] != "+Inf":
            stage.edges.append(float(sample.labels["le"]))
            stage.buckets.append(sample.value)
        elif sample.name.endswith("_count"):
            stage.count = sample.value
        elif sample.name.endswith("_sum"):
            stage.seconds = sample.value
    return found


def _retrieving(one: Any, searchers: Mapping[str, Searcher]) -> Retrieving:
    factors = getattr(one, "items", None)
    if factors is None:
        return Retrieving(name=one.name, items=None, dim=None, search="its own lists")
    way = searchers[one.name].way if one.name in searchers else Scan.way
    known = int(factors.known().sum())
    return Retrieving(name=one.name, items=known, dim=factors.dim, search=way)
