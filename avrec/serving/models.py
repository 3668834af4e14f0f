"""Which bundle answers a request: followed on the board, swapped without a gap.

A replica holds the active bundle, the one before it while it is known, and a candidate. The next
one is loaded and checked beside them; then one reference is replaced, and requests under way end
with what they began with. What is asked of one replica all others find on the board.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from avrec.checks import FAULTS
from avrec.growth import grow
from avrec.log import pairs
from avrec.serving import routing as notes
from avrec.serving.board import Board
from avrec.serving.catalogue import Catalogue
from avrec.serving.judge import Judge, Tolerance
from avrec.serving.meters import Meters
from avrec.serving.routing import Routing, RoutingError
from avrec.serving.service import Asked, Progress, Service, recommending
from avrec.serving.shadow import Shadow
from avrec.serving.shelf import Shelf
from avrec.serving.state import StateError
from avrec.serving.stock import Stock

if TYPE_CHECKING:
    from avrec.bundle import Bundle
    from avrec.recommend import Ranked

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.5
Make = Callable[[Service, Progress], "Ranked"]


class Lineup(NamedTuple):
    """Who answers: a routing, and its versions, of which `previous` may be absent."""

    routing: Routing
    services: Mapping[str, Service]

    @property
    def active(self) -> Service:
        """Answers what is of nobody in particular."""
        return self.services[self.routing.active]

    def of(self, user_id: str | None) -> Service:
        """Answers a person."""
        if self.routing.candidate is not None and self.routing.chosen(user_id):
            return self.services[self.routing.candidate]
        return self.active

    def before(self, version: str) -> Service | None:
        """Answers where a new version fails; None where nobody can."""
        routing = self.routing
        other = routing.previous if version == routing.active else routing.active
        return self.services.get(other or "")


class Answered(NamedTuple):
    """A list, and who made it."""

    service: Service
    ranked: "Ranked"


class Models:
    """The bundles of one replica.

    Args:
        board: says which versions answer.
        shelf: where they come from.
        serve: makes a loaded bundle answer.
        catalogue: what is to be changed of their items.
        first: version to begin with where the board says nothing yet; None: the one made last.
        tolerance: how much worse a new one may be.

    Raises:
        ArtifactError: no bundle can be served.
        StateError: the board cannot be used.
    """

    def __init__(
        self,
        board: Board,
        shelf: Shelf,
        serve: Callable[["Bundle"], Service],
        catalogue: Catalogue,
        first: str | None = None,
        tolerance: Tolerance | None = None,
    ) -> None:
        self.shelf, self.catalogue, self.meters = shelf, catalogue, Meters()
        self.stock = Stock(shelf, self.meters)
        self._board, self._serve = board, serve
        self._judge, self._shadow = Judge(tolerance or Tolerance()), Shadow(self.meters)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._number, self._on_trial, self._listed = 0, False, 0
        self._wanted = self._begin(first)
        loaded = self.stock.require(self._wanted.active)
        self._now = Lineup(self._wanted, {loaded.version: serve(loaded)})
        self.meters.show_models(self._wanted)
        self.follow()
        self.meters.state_available.set(1)

    @property
    def active(self) -> Service:
        """Answers what is of nobody in particular."""
        return self._now.active

    @property
    def services(self) -> Mapping[str, Service]:
        """All that are here, by version: who answers, and who did before or may next."""
        return self._now.services

    @property
    def routing(self) -> Routing:
        """Who answers, here and now."""
        return self._now.routing

    def of(self, user_id: str | None) -> Service:
        """Answers a person."""
        return self._now.of(user_id)

    def start(self) -> None:
        """Follow the board from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Follow it no longer."""
        self._ended.set()

    def check(self) -> None:
        """Raise StateError where changes ought to be followed and are not."""
        if self._thread.ident is not None and not self._thread.is_alive():
            raise StateError("this replica does not follow the board any more; restart it")

    def answer(self, user_id: str | None, make: Make, progress: Progress) -> Answered:
        """Make a list with the bundle that is this person's, or the one before where it fails."""
        now = self._now
        service = now.of(user_id)
        other = now.before(service.bundle.version)
        try:
            answered = self._timed(service, make, progress)
        except FAULTS as error:
            name = type(error).__name__
            logger.error("list failed %s", pairs(bundle=service.bundle.version, error=name))  # noqa: TRY400
            self._review(now, service)
            if other is None:
                raise
            return self._timed(other, make, Progress(progress.watch))
        self._review(now, service)
        self._compare(now, answered, make)
        return answered

    def recommend(self, asked: Sequence[Asked]) -> list[Answered]:
        """Make the lists of several people in one go; where that fails, none counts as made.

        Raises what a bundle raises: then each is to be asked for by itself, as of `answer`.
        """
        now, made = self._now, dict[int, Answered]()
        whose = [now.of(one.wish.user_id) for one in asked]
        for service in dict.fromkeys(whose):
            places = [place for place, other in enumerate(whose) if other is service]
            start = time.perf_counter()
            lists = service.recommend_all([asked[place] for place in places])
            seconds = time.perf_counter() - start
            for place, ranked in zip(places, lists, strict=True):
                made[place] = Answered(service, ranked)
                self._note(service, seconds, failed=False)
                self._review(now, service)
                self._compare(now, made[place], recommending(asked[place].wish))
        return [made[place] for place in range(len(asked))]

    def activate(self, version: str, share: float = 1.0, *, shadow: bool = False) -> Routing:
        """Let a version answer everybody, or try it on a share of the people or as a shadow.

        Raises:
            ArtifactError: it may not take traffic; all stays as it is.
            RoutingError: it cannot be, as things are.
            StateError: the board cannot be used.
        """
        self.stock.require(version)
        routing, number = notes.current(self._board)
        if share >= 1:
            routing = notes.activated(routing, version)
        else:
            routing = notes.tried(routing, version, share, shadow=shadow)
        notes.write(self._board, routing, number)
        self.follow()
        return routing

    def roll_back(self, why: str = "rolled back") -> Routing:
        """Drop the candidate, or else go back to what was active before; raises as `activate`."""
        routing, number = notes.current(self._board)
        routing = notes.rolled_back(routing, why)
        self.stock.require(routing.active)
        notes.write(self._board, routing, number)
        self.follow()
        return routing

    def follow(self) -> None:
        """Take in what changed on the board.

        Raises:
            StateError: the board cannot be used.
        """
        with self._lock:
            while changed := self._board.since(self._number):
                for note in changed:
                    self.catalogue.take(note)
                    if note.name == notes.NAME:
                        self._wanted = notes.parse(note.text)
                        self.stock.keep({*self._wanted.versions(), *self._now.services})
                self._number = changed[-1].number
            self._turn()

    def _run(self) -> None:
        """Follow; half of the time at most, for requests need the processor too."""
        pause = POLL_SECONDS
        while not self._ended.wait(pause):
            start = time.monotonic()
            try:
                self.follow()
                self.meters.state_available.set(1)
            except StateError as error:
                self.meters.state_available.set(0)
                logger.warning("board not read: %s", error)
            pause = max(POLL_SECONDS, time.monotonic() - start)

    def _begin(self, first: str | None) -> Routing:
        """Load what is active, else what can be; a blank board is told."""
        routing, _ = notes.read(self._board)
        tried = [first] if routing is None else [routing.active, routing.previous, None]
        active = self.stock.first(list(dict.fromkeys(tried))).version
        if routing is None:
            with suppress(RoutingError):  # another replica was faster
                notes.write(self._board, notes.first(active), 0)
        return Routing(active=active)

    def _turn(self) -> None:
        """Let those answer who are wanted, as far as they are here."""
        for version in (self._wanted.active, self._wanted.candidate):
            if version is not None:
                self.stock.want(version)
        before, routing = self._now, self._possible()
        if routing == before.routing and self._listed == self.catalogue.number:
            return
        if routing.active != before.routing.active:
            self._on_trial = routing.previous == before.routing.active
            self._judge.start(routing.active)
        here = {one: self.stock.get(one) for one in routing.versions()}
        services = {name: self._service(one) for name, one in here.items() if one is not None}
        self._now, self._listed = Lineup(routing, services), self.catalogue.number
        self.catalogue.listed()
        self.stock.keep({*self._wanted.versions(), *services})
        self.meters.show_models(routing)
        logger.info("models %s", pairs(active=routing.active, candidate=routing.candidate))

    def _possible(self) -> Routing:
        """What is wanted, without what is not here."""
        wanted = self._wanted if self.stock.get(self._wanted.active) else self._now.routing
        if wanted.candidate is None or self.stock.get(wanted.candidate):
            return wanted
        return replace(wanted, candidate=None, share=0.0, shadow=False)

    def _service(self, loaded: "Bundle") -> Service:
        found = self._now.services.get(loaded.version)
        if found is not None and self._listed == self.catalogue.number:
            return found
        changes = self.catalogue.changes(loaded)
        return self._serve(loaded if changes is None else grow(loaded, changes))

    def _timed(self, service: Service, make: Make, progress: Progress) -> Answered:
        start, failed = time.perf_counter(), True
        try:
            ranked = make(service, progress)
            failed = False
        except StateError:
            failed = False  # whichever bundle had been asked
            raise
        finally:
            self._note(service, time.perf_counter() - start, failed=failed)
        return Answered(service, ranked)

    def _note(self, service: Service, seconds: float, *, failed: bool) -> None:
        version = service.bundle.version
        self._judge.note(version, 1000 * seconds, failed=failed)
        self.meters.count_list(version, seconds, failed=failed)

    def _compare(self, now: Lineup, answered: Answered, make: Make) -> None:
        """Let a shadow make the list too."""
        service, ranked = answered
        if now.routing.shadow and service is now.active:
            shown = [service.item_id(row) for row in ranked.items]
            self._shadow.compare(now.services[now.routing.candidate or ""], make, shown)

    def _review(self, now: Lineup, service: Service) -> None:
        """Take a new bundle back when it is worse than the one before."""
        version, other = service.bundle.version, now.before(service.bundle.version)
        new = version != now.routing.active or (self._on_trial and self._judge.on_trial(version))
        if other is None or not new:
            return
        fault = self._judge.fault(version, other.bundle.version)
        if fault is not None:
            self._take_back(now.routing, fault)

    def _take_back(self, judged: Routing, fault: str) -> None:
        try:
            routing, number = notes.current(self._board)
            if routing != judged:  # somebody was faster
                return
            notes.write(self._board, notes.rolled_back(routing, f"taken back: {fault}"), number)
            logger.error(
                "taken back %s", pairs(why=fault, bundle=judged.candidate or judged.active)
            )
            self.meters.taken_back.inc()
            self.follow()
        except (RoutingError, StateError) as error:
            logger.warning("not taken back: %s", error)
