"""What a run does, as Prometheus metrics of the node that its driver is on.

Ray puts `ray_` before every name; times and bytes are sums since the start.
"""

from collections.abc import Mapping

from ray.util.metrics import Counter

STAGE = ("stage",)


class Meters:
    """Counters of a run."""

    def __init__(self) -> None:
        self._of_stages = {
            "files": Counter("avrec_files", "Contents that a stage has seen", STAGE),
            "seconds": Counter("avrec_busy_seconds", "Time that a stage was busy", STAGE),
            "cpu_seconds": Counter("avrec_cpu_seconds", "CPU time of a stage", STAGE),
            "gpu_seconds": Counter("avrec_gpu_seconds", "GPU time of a stage", STAGE),
            "media_seconds": Counter("avrec_media_seconds", "Length of what was decoded", STAGE),
            "bytes_in": Counter("avrec_bytes_in", "Bytes that a stage has read", STAGE),
        }
        self._errors = Counter("avrec_errors", "Contents that failed", ("kind",))

    def add(self, stages: Mapping[str, Mapping[str, float]], errors: Mapping[str, int]) -> None:
        """Count what an actor reports."""
        for stage, amounts in stages.items():
            for name in self._of_stages.keys() & amounts.keys():
                if amounts[name] > 0:
                    self._of_stages[name].inc(amounts[name], {"stage": stage})
        for kind, number in errors.items():
            self._errors.inc(number, {"kind": kind})
