"""Whether the state answers, as probes ask it: soon, and without taking replicas out for it.

All replicas have the same state. Were they unready while it is away, there would be nobody left to
make the lists that can be made without it.
"""

import asyncio
from typing import TYPE_CHECKING, Literal

from avrec.serving.models import Models
from avrec.serving.state import StateError

if TYPE_CHECKING:
    from asyncio import Task

WAIT_SECONDS = 0.5
"""For the state to answer; probes give up after a second."""


class Readiness:
    """Looks at the state of one replica.

    Args:
        models: of whose services the state is.
        wait_seconds: after which a state that does not answer is as one that fails.
    """

    def __init__(self, models: Models, wait_seconds: float = WAIT_SECONDS) -> None:
        self._models, self._wait_seconds = models, wait_seconds
        self._looking: Task[StateError | None] | None = None
        self._reached = False

    async def look(self) -> Literal["available", "unavailable"]:
        """Tell how the state is; while one look hangs no other is begun.

        Raises:
            StateError: it does not answer, and never did.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(self._fault))
        await asyncio.wait({self._looking}, timeout=self._wait_seconds)
        slow = StateError(f"the state did not answer in {self._wait_seconds} s")
        fault = self._looking.result() if self._looking.done() else slow
        self._reached = self._reached or fault is None
        if fault is not None and not self._reached:
            raise fault
        return "available" if fault is None else "unavailable"

    def _fault(self) -> StateError | None:
        try:
            self._models.active.state.check()
        except StateError as error:
            return error
        return None
