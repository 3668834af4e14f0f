"""How many workers a model is trained on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkersConfig:
    """How many workers train, and what each takes."""

    num_workers: int = 2
    """Ray Train workers; the result does not depend on their number."""
    num_cpus: float = 1.0
    """CPUs of each worker."""
    use_gpu: bool = False
    """Whether each worker takes one GPU."""
    max_failures: int = 3
    """Restarts from the latest checkpoint before the run is given up."""

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
