"""How many workers a model is trained on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkersConfig:
    """How many workers train, and what each takes."""

    num_workers: int = 2
    """Ray Train workers; the result does not depend on their number."""
    min_workers: int = 0
    """Workers from which a run starts where the cluster has no room for all, to be joined by the
    others when it has; 0 waits for all."""
    num_cpus: float = 1.0
    """CPUs of each worker."""
    use_gpu: bool = False
    """Whether each worker takes one GPU."""
    max_failures: int = 3
    """Restarts from the latest checkpoint before the run is given up."""
    checkpoint_seconds: float = 0.0
    """Least time between two checkpoints of an ALS fit, each written while the next epoch runs;
    0 saves every epoch."""

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
        if not 0 <= self.min_workers <= self.num_workers:
            raise ValueError(
                f"min_workers must be in [0, {self.num_workers}], got {self.min_workers}"
            )
        if self.checkpoint_seconds < 0:
            raise ValueError(
                f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}"
            )
