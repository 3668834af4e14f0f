"""What the service counts, as Prometheus reads it. One set a replica."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

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
        self._stages = Histogram(
            "avrec_stage_seconds",
            "Time that a stage of a request took.",
            ["stage"],
            buckets=SECONDS,
            registry=self._registry,
        )

    def observe(self, milliseconds: dict[str, float]) -> None:
        """Count the stages of one request."""
        for stage, value in milliseconds.items():
            self._stages.labels(stage).observe(value / 1000)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
