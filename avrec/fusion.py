"""Scores of candidates: reciprocal ranks, summed over whoever has a say.

    score(i) = sum_s w_s / (60 + rank_s(i))     (Cormack, Clarke & Buettcher, SIGIR 2009)

over the sources, each with its voice `w_s`, and over the ranker.
"""

import numpy as np

from avrec.arrays import Array, Idx, Mask, Scores
from avrec.candidates import Candidates, places
from avrec.interactions import Histories
from avrec.models.features import Knowledge, featurize
from avrec.models.ranker import Ranker
from avrec.reasons import POPULAR
from avrec.sources import DISCOVERY

OFFSET = 60
WHISPER = 0.01
"""Voice of what is popular for whom more is known: it only breaks the ice."""


def fused(candidates: Candidates, unknown: Mask, discovery_weight: float) -> Scores:
    """Sum the voices of the sources.

    Args:
        candidates: what was proposed.
        unknown: one truth a query: whether it has no history. Then what is popular has a voice,
            unless a list by segment or profile has it.
        discovery_weight: voice of those in DISCOVERY; that of a model is 1.
    """
    total = np.zeros(len(candidates.query), np.float32)
    for name, ranks in candidates.ranks.items():
        gain = voice(ranks, discovery_weight if name in DISCOVERY else 1)
        if name == POPULAR:
            gain = np.where(_lost(candidates, unknown)[candidates.query], gain, WHISPER * gain)
        total += gain
    return total


def ranked(
    candidates: Candidates, histories: Histories, knowledge: Knowledge, ranker: Ranker, at: int
) -> Idx:
    """Place of each candidate in the ranker's order; 0 for a query without a history."""
    features = featurize(
        histories,
        candidates.query,
        candidates.item,
        candidates.scores,
        knowledge,
        np.full(len(candidates.query), at, np.int64),
    )
    place = places(candidates, ranker.score(features))
    return np.where((histories.lengths() > 0)[candidates.query], place, 0)


def voice(place: Idx, weight: float) -> Array:
    """What a place adds to a score; place 0 adds nothing."""
    return np.where(place > 0, weight / (OFFSET + place), 0).astype(np.float32)


def _lost(candidates: Candidates, unknown: Mask) -> Mask:
    """Queries of which not even the segment or the profile is known."""
    lost = unknown.copy()
    for name, ranks in candidates.ranks.items():
        if name != POPULAR and name not in DISCOVERY:
            lost[candidates.query[ranks > 0]] = False
    return lost
