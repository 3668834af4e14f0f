"""What is shown is stored, and counted."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from avrec.log import pairs
from avrec.serving.auth import Keys
from avrec.serving.meters import Meters
from avrec.serving.people import Wish
from avrec.serving.reading import STATE
from avrec.serving.service import Service
from avrec.serving.spool import Spool
from avrec.serving.state import StateError
from avrec.stopwatch import Stopwatch

if TYPE_CHECKING:
    from avrec.recommend import Ranked

logger = logging.getLogger(__name__)


class Made(NamedTuple):
    """A list, for whom, who made it, and how that went."""

    wish: Wish
    service: Service
    ranked: "Ranked"
    watch: Stopwatch


class Records:
    """Keeps lists of one replica as they are shown.

    Args:
        meters: count them.
        keys: name people in the log.
        spool: has those that wait while the state is away for reading.
    """

    def __init__(self, meters: Meters, keys: Keys, spool: Spool) -> None:
        self._meters, self._keys, self._spool = meters, keys, spool

    def add(self, shown: Sequence[Made]) -> None:
        """Store and count some lists."""
        for service in dict.fromkeys(made.service for made in shown):
            self._store(service, [made for made in shown if made.service is service])
        for made in shown:
            self._count(made)

    def _store(self, service: Service, shown: Sequence[Made]) -> None:
        """Store what one service made; while the state is away for reading, lists wait for it."""
        now = [made for made in shown if STATE not in made.watch.degraded]
        for made in shown:
            if STATE in made.watch.degraded:
                self._spool.keep(service.served([(made.wish, made.ranked)]))
        if not now:
            return
        start = time.perf_counter()
        try:
            service.log([(made.wish, made.ranked) for made in now])
            self._spool.pour(service.state)
        except StateError as error:  # people are better served unlogged than not at all
            self._unlogged(now, error)
        spent = 1000 * (time.perf_counter() - start)
        for made in now:
            made.watch.milliseconds["log"] = spent

    def _unlogged(self, shown: Sequence[Made], error: StateError) -> None:
        for made in shown:
            logger.error("list not stored %s", pairs(**_about(made), why=str(error)))
            self._meters.unlogged.inc()

    def _count(self, made: Made) -> None:
        lacking = made.watch.degraded
        self._meters.observe(made.watch.milliseconds)
        self._meters.count_shown(made.ranked.sources, lacking)
        level = logging.WARNING if lacking else logging.DEBUG
        if logger.isEnabledFor(level):
            user_id = made.wish.user_id
            user = None if user_id is None else self._keys.pseudonym(user_id)
            times = made.watch.milliseconds
            told = pairs(**_about(made), user=user, without=",".join(lacking), **times)
            logger.log(level, "list degraded %s" if lacking else "list %s", told)


def _about(made: Made) -> dict[str, str]:
    return {"request": made.wish.request_id, "model": made.service.bundle.version}
