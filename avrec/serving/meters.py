"""What the service counts, as Prometheus reads it. One set a replica."""

import threading
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from avrec.serving.routing import Routing

if TYPE_CHECKING:
    from avrec.arrays import Offsets

SHARES = tuple(n / 10 for n in range(11))
NOTED = 1_000
"""Requests whose times wait to be counted, at most."""
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Meters:
    """Counters and histograms in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "avrec_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self.events = Counter(
            "avrec_events",
            "Events posted, by what became of them.",
            ["status"],
            registry=self._registry,
        )
        self.unlogged = Counter(
            "avrec_unlogged_lists",
            "Lists served that could not be stored.",
            registry=self._registry,
        )
        self.waiting = Gauge(
            "avrec_waiting_lists", "Served, to be stored later.", registry=self._registry
        )
        self.state_available = Gauge(
            "avrec_state_available", "1 while the state answers.", registry=self._registry
        )
        self._stages = _Stages()
        self._registry.register(self._stages)
        self._sources = Counter(
            "avrec_shown_items", "By what proposed them.", ["source"], registry=self._registry
        )
        self._degraded = Counter(
            "avrec_degraded_lists", "By what they lacked.", ["lacked"], registry=self._registry
        )
        self._count_models()

    def _count_models(self) -> None:
        here = self._registry
        self._lists = Histogram(
            "avrec_list_seconds", "Time of a list.", ["model"], buckets=SECONDS, registry=here
        )
        self._failed = Counter("avrec_failed_lists", "Not made.", ["model"], registry=here)
        self._roles = Gauge("avrec_model", "Which answer.", ["model", "role"], registry=here)
        self.refused = Counter("avrec_refused_models", "Bad bundles.", registry=here)
        self.taken_back = Counter("avrec_models_taken_back", "By themselves.", registry=here)
        self.shadows = Counter(
            "avrec_shadow_lists", "By what became of them.", ["status"], registry=here
        )
        self.shadow_seconds = Histogram(
            "avrec_shadow_seconds", "Time of a shadow's list.", buckets=SECONDS, registry=here
        )
        self.overlap = Histogram(
            "avrec_shadow_overlap",
            "Share of a list that its shadow has too.",
            buckets=SHARES,
            registry=here,
        )

    def show_models(self, routing: Routing) -> None:
        """Say which versions answer."""
        self._roles.clear()
        self._roles.labels(routing.active, "active").set(1)
        if routing.candidate is not None:
            self._roles.labels(routing.candidate, "candidate").set(1)

    def count_list(self, version: str, seconds: float, *, failed: bool) -> None:
        """Count a list by the version that was asked for it."""
        self._lists.labels(version).observe(seconds)
        if failed:
            self._failed.labels(version).inc()

    def count_shown(self, sources: Iterable[tuple[str, ...]], lacking: Iterable[str]) -> None:
        """Count what proposed the items of a list, and what it lacked."""
        for source, count in Counts(name for names in sources for name in names).items():
            self._sources.labels(source).inc(count)
        for what in lacking:
            self._degraded.labels(what).inc()

    def observe(self, milliseconds: dict[str, float]) -> None:
        """Count the stages of one request."""
        self._stages.note(milliseconds)

    def samples(self) -> Iterator[Sample]:
        """Everything, one by one."""
        return (sample for family in self._registry.collect() for sample in family.samples)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Stages(Collector):
    """Times of stages, as a histogram: noted as they come, counted some at a time.

    To note the ten stages of a list is a fifth of what it is to count them one by one.
    """

    def __init__(self) -> None:
        self._lock, self._noted = threading.Lock(), list[Mapping[str, float]]()
        self._counts: dict[str, Offsets] = {}
        self._sums: dict[str, float] = {}

    def note(self, milliseconds: Mapping[str, float]) -> None:
        """Keep the times of one request."""
        with self._lock:
            self._noted.append(milliseconds)
            if len(self._noted) >= NOTED:
                self._count()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        text = "Time that a stage of a request took."
        told = HistogramMetricFamily("avrec_stage_seconds", text, labels=["stage"])
        with self._lock:
            self._count()
            for stage, counts in self._counts.items():
                bounds = [*map(floatToGoString, SECONDS), "+Inf"]
                buckets = list(zip(bounds, np.cumsum(counts).tolist(), strict=True))
                told.add_metric([stage], buckets, self._sums[stage])
        yield told

    def _count(self) -> None:
        times: dict[str, list[float]] = {}
        for one in self._noted:
            for stage, spent in list(one.items()):
                times.setdefault(stage, []).append(spent / 1000)
        self._noted.clear()
        for stage, seconds in times.items():
            places = np.searchsorted(SECONDS, seconds)
            counts = np.bincount(places, minlength=len(SECONDS) + 1)
            self._counts[stage] = self._counts.get(stage, 0) + counts
            self._sums[stage] = self._sums.get(stage, 0.0) + sum(seconds)
