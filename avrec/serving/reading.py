"""Live events for a list, from a state that may be slow or away.

Then the list is made without them. Who was forgotten stays so as far as this replica has heard.
While one read hangs no other is begun, so that a state that is away does not take all threads.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from avrec.schema import EVENTS
from avrec.serving.state import Live, StateError, UserState
from avrec.stopwatch import Stopwatch

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger(__name__)
HANGS_SECONDS = 1.0
"""Age of a read from which others are made without the state."""
STATE = "state"
"""What an answer is called to lack that knows no live events."""


class Reading:
    """Reads a state, and remembers who is to be forgotten.

    Args:
        state: of all people.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, state: UserState, clock: Callable[[], float] = time.monotonic) -> None:
        self._state, self._answers, self._clock = state, True, clock
        self._begun: dict[object, float] = {}
        self._forgotten: dict[str, datetime] = {}
        try:
            told = state.forgotten()
        except StateError as error:
            self._failed(error)
        else:
            users, moments = (told[name].to_pylist() for name in ("user_id", "at"))
            self._forgotten = dict(zip(users, moments, strict=True))

    def live(self, user_id: str, watch: Stopwatch) -> Live:
        """Tell what is known of a user; no events where time is up, or the state fails or hangs."""
        if self._hangs():
            watch.lack(STATE)
        elif not watch.forgoes(STATE):
            try:
                with self._under_way():
                    live = self._state.live(user_id)
            except StateError as error:
                watch.lack(STATE)
                self._failed(error)
            else:
                self._heard(user_id, live)
                return live
        return Live(EVENTS.empty_table(), self._forgotten.get(user_id))

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        read = object()
        self._begun[read] = self._clock()
        try:
            yield
        finally:
            del self._begun[read]

    def _hangs(self) -> bool:
        begun = list(self._begun.values())
        return bool(begun) and self._clock() - min(begun) > HANGS_SECONDS

    def _heard(self, user_id: str, live: Live) -> None:
        if live.forgotten_at is not None:
            self._forgotten[user_id] = live.forgotten_at
        if not self._answers:
            logger.info("the state answers again")
        self._answers = True

    def _failed(self, error: StateError) -> None:
        """Say it once, not for every list."""
        if self._answers:
            logger.error("lists are made without live events: %s", error)
        self._answers = False
