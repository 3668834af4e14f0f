"""Whether a bundle may take traffic: its files, and a few lists made with it."""

import logging

import numpy as np
import pyarrow as pa

from avrec import bundle
from avrec.arrays import Idx
from avrec.bundle import Bundle
from avrec.errors import ArtifactError, AvrecError
from avrec.interactions import Histories
from avrec.recommend import Ranked
from avrec.store import Artifact

logger = logging.getLogger(__name__)
FAULTS = (
    *(RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError, TypeError),
    *(AttributeError, AssertionError, OSError, pa.ArrowException),
)
"""What loading, or listing with, a wrong bundle raises beside an AvrecError."""
K, PROBES = 20, 4


def load(artifact: Artifact) -> Bundle:
    """Check and load a bundle, and make a few lists with it.

    Raises:
        ArtifactError: it may not take traffic; the message says why.
    """
    try:
        loaded = bundle.load(artifact)
        check(loaded)
    except ArtifactError:
        raise
    except (AvrecError, *FAULTS) as error:
        told = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"bundle {artifact.version} cannot be served: {told}") from error
    return loaded


def check(loaded: Bundle) -> None:
    """Make lists for nobody, for those with the longest histories, and like some items.

    Each must be as long as what is left allows, up to K, with finite scores that fall, no item
    twice, none that cannot be played and none to be left out.

    Raises:
        ArtifactError: a list is wrong, or there is nothing to list.
    """
    playable = loaded.recommender.knowledge.playable
    if not playable.any():
        raise ArtifactError(f"bundle {loaded.version} has no item to list")
    busiest = np.argsort(-loaded.users.histories.lengths(), kind="stable")
    users = busiest[:PROBES].astype(np.int32)
    known = loaded.users.histories.take(users)
    at = int(known.at.max(initial=0))
    for histories, seen in ((known, loaded.seen.take(users)), (_nobody(), _nobody())):
        lists = loaded.recommender.recommend(histories, k=K, at=at, exclude=seen)
        for query, ranked in enumerate(lists):
            barred = np.union1d(histories.row(query), seen.row(query)).astype(np.int32)
            _judge(ranked, loaded, barred, _left(loaded, barred))
    for item in np.flatnonzero(playable)[:PROBES]:
        _judge(loaded.recommender.similar(int(item), K), loaded, np.array([item], np.int32))


def _nobody() -> Histories:
    return Histories.of([np.empty(0, np.int32)])


def _left(loaded: Bundle, barred: Idx) -> int:
    """How many works a list can have that holds no copy of what is barred."""
    known = loaded.recommender.knowledge
    works = np.unique(known.copies.group[known.playable])
    return len(np.setdiff1d(works, known.copies.group[barred]))


def _judge(ranked: Ranked, loaded: Bundle, barred: Idx, left: int | None = None) -> None:
    rows, version = ranked.items, loaded.version
    rerank = loaded.recommender.config.rerank
    if left is not None and len(rows) != min(K, left) and not rerank.max_per_creator:
        raise ArtifactError(f"bundle {version} lists {len(rows)} items, expected {min(K, left)}")
    falls = rerank.orders or not (np.diff(ranked.scores) > 0).any()
    if not np.isfinite(ranked.scores).all() or not falls:
        raise ArtifactError(f"bundle {version} gives scores that are not finite, or do not fall")
    if len(np.unique(rows)) < len(rows) or np.isin(rows, barred).any():
        raise ArtifactError(f"bundle {version} lists an item twice, or one to be left out")
    if not loaded.recommender.knowledge.playable[rows].all():
        raise ArtifactError(f"bundle {version} lists an item that cannot be played")
