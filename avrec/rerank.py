"""From scored candidates to the order shown: diversity, at most so many of a creator, exploration.

A list is filled from the top. Each place goes to one of the candidates that are still open, by
what each would gain it, with relevance r in (-inf, 1], the best candidate's being 1:

    none   r_i
    mmr    (1 - d) r_i - d max_j cos(i, j)    over j chosen (Carbonell & Goldstein, SIGIR 1998)
    dpp    (1 - d) r_i + d log det's growth   by i of the chosen ones' cosines (Chen, Zhang & Zhou,
                                              NeurIPS 2018: greedy MAP, its Cholesky row by row)

Who gets the place is either the one that gains most, or drawn:

    epsilon    with probability epsilon evenly from the open candidates in reach, else the best
    softmax    in proportion to exp(gain / temperature), of those in reach, by Gumbel's trick; with
               "none" above this is the model of Plackett and Luce

In reach are the `reach` open candidates that gain most. The propensity of a place is the chance
that its item had to get it, given what stands above: known exactly, and the product of those of a
list is the chance of the whole list (of its top, the chance of that top).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from avrec.arrays import Array, Idx, Mask, Micros, Scores, Vectors

DIVERSIFY = ("none", "mmr", "dpp")
EXPLORE = ("none", "epsilon", "softmax")
GREEDY = 1.0
"""Propensity of an item that no chance put where it is."""
DAY = 86_400_000_000
ALMOST_ALIKE = 1e-6
"""Least squared distance from the span of what is chosen that the logarithm is taken of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RerankConfig:
    """How scored candidates become the list shown."""

    diversify: str = "none"
    """What keeps a list from repeating itself: "none", "mmr" or "dpp"."""
    diversity: float = 0.3
    """Weight of being unlike what stands above, from 0 to 1; that of relevance is the rest."""
    max_per_creator: int = 0
    """Items of one creator in a list, at most; 0 for any number."""
    freshness: float = 0.0
    """What a new item's score gains, as a share of it; the gain halves each half-life."""
    half_life_days: float = 7.0
    """Age at which the gain for freshness has halved."""
    explore: str = "none"
    """Whether places are drawn: "none", "epsilon" or "softmax". Each item's propensity is told."""
    epsilon: float = 0.1
    """For "epsilon": chance of a place to be drawn evenly."""
    temperature: float = 0.05
    """For "softmax": of gains of which the best candidate's is 1 or less; smaller is greedier."""
    reach: int = 50
    """Candidates for a place, the best ones, that are drawn from."""

    def __post_init__(self) -> None:
        _require_among("diversify", self.diversify, DIVERSIFY)
        _require_among("explore", self.explore, EXPLORE)
        for name in ("diversity", "epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        for name in ("max_per_creator", "freshness"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("half_life_days", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.reach < 1:
            raise ValueError(f"reach must be at least 1, got {self.reach}")

    @property
    def explores(self) -> bool:
        """Whether chance has a say."""
        return self.explore != "none"

    @property
    def orders(self) -> bool:
        """Whether a list may differ from the order of the scores."""
        return self.diversify != "none" or self.max_per_creator > 0 or self.explores

    def names(self, *, reranked: bool, drawn: bool) -> list[str]:
        """What the policy's name says of a list, by whether it was reranked, and by chance."""
        parts = {
            f"fresh_{self.freshness:g}_{self.half_life_days:g}d": self.freshness > 0,
            f"{self.diversify}_{self.diversity:g}": reranked and self.diversify != "none",
            f"creators_{self.max_per_creator}": reranked and self.max_per_creator > 0,
            f"epsilon_{self.epsilon:g}_of_{self.reach}": drawn and self.explore == "epsilon",
            f"softmax_{self.temperature:g}_of_{self.reach}": drawn and self.explore == "softmax",
        }
        return [name for name, told in parts.items() if told]


class Pool(NamedTuple):
    """Candidates of one list: scores, unit vectors (num, dim), and creators, -1 for none."""

    scores: Scores
    vectors: Vectors
    creators: Idx


class Picked(NamedTuple):
    """Entries of a pool in the order shown, and the propensity of each."""

    entries: Idx
    propensities: Scores


def rerank(
    pool: Pool, k: int, config: RerankConfig, rng: np.random.Generator | None = None
) -> Picked:
    """Choose and order at most `k` of the candidates; ties go to the earlier entry.

    Where every open candidate's creator has had their share the list ends.

    Args:
        pool: the candidates.
        k: length of the list.
        config: how.
        rng: chance for `config.explore`; without it the best one gets each place.
    """
    gains, creators = _gains(pool, config), pool.creators
    open_ = np.ones(len(pool.scores), bool)
    shown: dict[int, int] = {}
    entries: list[int] = []
    chances: list[float] = []
    draw = _drawing(config, rng)
    while len(entries) < k and open_.any():
        entry, chance = draw(np.where(open_, gains.values, -np.inf))
        entries.append(entry)
        chances.append(chance)
        gains.take(entry)
        _close(open_, entry, creators, shown, config.max_per_creator)
    return Picked(np.array(entries, np.int32), np.array(chances, np.float32))


def refreshed(scores: Scores, published_at: Micros, at: int, config: RerankConfig) -> Scores:
    """Raise the scores of new items: s (1 + freshness 2^(-age / half_life)).

    Args:
        scores: one a candidate, at least 0.
        published_at: of each, UTC microseconds, -1 where unknown, which gains nothing.
        at: the moment of the request, UTC microseconds; what is published later is new.
        config: how much.
    """
    if not config.freshness:
        return scores
    age_days = np.maximum(at - published_at, 0) / DAY
    gain = config.freshness * np.exp2(-age_days / config.half_life_days)
    return (scores * np.where(published_at < 0, 1, 1 + gain)).astype(np.float32)


def seeded(request_id: str) -> np.random.Generator:
    """Make the chance of one request: the same id, the same draws."""
    digest = hashlib.blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


class _Gains(Protocol):
    """What each candidate would gain the next place."""

    values: Array

    def take(self, entry: int) -> None:
        """Put one into the list."""
        ...


class _Plain:
    def __init__(self, relevance: Array) -> None:
        self.values = relevance

    def take(self, entry: int) -> None:
        """Relevance is what it was."""


class _MarginalRelevance:
    def __init__(self, relevance: Array, vectors: Vectors, diversity: float) -> None:
        self._own, self._vectors, self._diversity = (1 - diversity) * relevance, vectors, diversity
        self._nearest = np.full(len(relevance), -np.inf)
        self.values = self._own

    def take(self, entry: int) -> None:
        np.maximum(self._nearest, self._vectors @ self._vectors[entry], out=self._nearest)
        self.values = self._own - self._diversity * self._nearest


class _Volume:
    """`_apart[i]` is the squared distance of i from the span of what is chosen."""

    def __init__(self, relevance: Array, vectors: Vectors, diversity: float) -> None:
        self._own, self._vectors, self._diversity = (1 - diversity) * relevance, vectors, diversity
        self._apart = np.ones(len(relevance))
        self._rows: list[Array] = []
        self.values = self._own

    def take(self, entry: int) -> None:
        distance = np.sqrt(self._apart[entry])
        if distance**2 > ALMOST_ALIKE:
            inside = sum((row[entry] * row for row in self._rows), np.zeros(len(self._apart)))
            row = (self._vectors @ self._vectors[entry] - inside) / distance
            self._rows.append(row)
            self._apart = np.maximum(self._apart - row**2, 0)
        spread = np.log(np.maximum(self._apart, ALMOST_ALIKE))
        self.values = self._own + self._diversity * spread


def _gains(pool: Pool, config: RerankConfig) -> _Gains:
    relevance = _relevance(pool.scores)
    if config.diversify == "mmr":
        return _MarginalRelevance(relevance, pool.vectors, config.diversity)
    if config.diversify == "dpp":
        return _Volume(relevance, pool.vectors, config.diversity)
    return _Plain(relevance)


def _relevance(scores: Scores) -> Array:
    """Scores over the highest; zeros where that is not above 0."""
    highest = scores.max(initial=0)
    return scores / highest if highest > 0 else np.zeros(len(scores))


def _drawing(
    config: RerankConfig, rng: np.random.Generator | None
) -> Callable[[Array], tuple[int, float]]:
    if rng is None or not config.explores:
        return _best
    if config.explore == "epsilon":
        return lambda gains: _evenly(gains, config, rng)
    return lambda gains: _softly(gains, config, rng)


def _best(gains: Array) -> tuple[int, float]:
    return int(np.argmax(gains)), GREEDY


def _evenly(gains: Array, config: RerankConfig, rng: np.random.Generator) -> tuple[int, float]:
    near = _in_reach(gains, config.reach)
    best, drawn = near[0], near[rng.integers(len(near))]
    entry = int(drawn if rng.random() < config.epsilon else best)
    even = config.epsilon / len(near)
    return entry, float(even + (1 - config.epsilon) * (entry == best))


def _softly(gains: Array, config: RerankConfig, rng: np.random.Generator) -> tuple[int, float]:
    near = _in_reach(gains, config.reach)
    logits = (gains[near] - gains[near[0]]) / config.temperature
    place = int(np.argmax(logits + rng.gumbel(size=len(near))))
    chances = np.exp(logits)
    return int(near[place]), float(chances[place] / chances.sum())


def _in_reach(gains: Array, reach: int) -> Array:
    """Open entries that gain most, best first."""
    order = np.argsort(-gains, kind="stable")[:reach]
    return order[np.isfinite(gains[order])]


def _close(open_: Mask, entry: int, creators: Idx, shown: dict[int, int], most: int) -> None:
    """Close an entry, and its creator's others when they have had their share."""
    open_[entry] = False
    creator = int(creators[entry])
    if creator < 0 or not most:
        return
    shown[creator] = shown.get(creator, 0) + 1
    if shown[creator] >= most:
        open_[creators == creator] = False


def _require_among(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
