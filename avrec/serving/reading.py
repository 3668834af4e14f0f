"""Live events for a list, from a state that may be slow or away.

Then the list is made without them. Who was forgotten stays so as far as this replica has heard.
"""

import logging
from typing import TYPE_CHECKING

from avrec.schema import EVENTS
from avrec.serving.state import Live, StateError, UserState
from avrec.stopwatch import Stopwatch

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger(__name__)
STATE = "state"
"""What an answer is called to lack that knows no live events."""


class Reading:
    """Reads a state, and remembers who is to be forgotten."""

    def __init__(self, state: UserState) -> None:
        self._state, self._answers = state, True
        self._forgotten: dict[str, datetime] = {}
        try:
            told = state.forgotten()
        except StateError as error:
            self._failed(error)
        else:
            users, moments = (told[name].to_pylist() for name in ("user_id", "at"))
            self._forgotten = dict(zip(users, moments, strict=True))

    def live(self, user_id: str, watch: Stopwatch) -> Live:
        """Tell what is known of a user; no events where time is up or the state fails."""
        if not watch.forgoes(STATE):
            try:
                live = self._state.live(user_id)
            except StateError as error:
                watch.lack(STATE)
                self._failed(error)
            else:
                self._heard(user_id, live)
                return live
        return Live(EVENTS.empty_table(), self._forgotten.get(user_id))

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
