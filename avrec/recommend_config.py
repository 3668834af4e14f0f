"""How lists are made, as configuration."""

from dataclasses import dataclass, field
from typing import Any, Self

from avrec.rerank import RerankConfig
from avrec.sources import DISCOVERY

SOURCES = ("als", "towers", "content", "svd", "bpr", "item_neighbours", "user_neighbours")
"""Models that may propose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommendConfig:
    """How lists are made."""

    sources: tuple[str, ...] = SOURCES[:3]
    """What proposes: models, those of them that were made (als, towers, content, svd, bpr,
    item_neighbours, user_neighbours), fresh, which is what came out lately, and creators, which is
    more by those of the history. What is popular always does."""
    candidates_per_source: int = 100
    """Items that each source proposes for a query."""
    ranker_weight: float = 1.0
    """Voice of the ranker beside those of the models, one each, when ranks are fused."""
    discovery_weight: float = 0.25
    """Voice of each of fresh and creators."""
    fresh_days: float = 30.0
    """Age up to which an item is new."""
    min_similarity: float = 0.3
    """Cosine from which a past item is named as the reason for a recommended one."""
    one_of_each: bool = True
    """Whether a list shows one of each group of near-duplicates, where these were found."""
    rerank: RerankConfig = field(default_factory=RerankConfig)
    """Section `[recommend.rerank]`."""

    def __post_init__(self) -> None:
        able = SOURCES + DISCOVERY
        unknown = [name for name in self.sources if name not in able]
        if unknown:
            raise ValueError(f"sources must be among {able}, got {unknown}")
        if self.candidates_per_source < 1:
            raise ValueError(
                f"candidates_per_source must be at least 1, got {self.candidates_per_source}"
            )
        for name in ("ranker_weight", "discovery_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.fresh_days > 0:
            raise ValueError(f"fresh_days must be above 0, got {self.fresh_days}")

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        """Undo `dataclasses.asdict`, from JSON; what is not said has its default."""
        nested = {
            "sources": tuple(facts["sources"]),
            "rerank": RerankConfig(**facts.get("rerank", {})),
        }
        return cls(**(facts | nested))


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How lists for every user are made at once."""

    k: int = 20
    """Length of a list."""
    num_actors: int = 2
    """Ray actors that each load the bundle; one takes one CPU."""

    def __post_init__(self) -> None:
        for name in ("k", "num_actors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
