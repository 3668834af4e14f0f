"""The service without its wire: who asks, as of now, and the list made for them.

Live events are read at each request, so a posted event shows in the very next list.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from avrec.arrays import Idx
from avrec.candidates import Attempt
from avrec.interactions import Histories
from avrec.models.newcomers import Stated
from avrec.recommend import Ranked
from avrec.schema import RECOMMENDATIONS
from avrec.serving.joint import Query, context_of, recommended
from avrec.serving.people import Barred, People, Person, Taken, Wish
from avrec.serving.reading import Reading
from avrec.serving.state import Live, UserState
from avrec.stopwatch import Stopwatch

if TYPE_CHECKING:
    from avrec.bundle import Bundle


@dataclass(slots=True)
class Progress(Attempt):
    """A list in the making: who makes it, and for whom, as soon as that is known."""

    service: "Service | None" = None
    person: Person | None = None

    def hurried(self) -> "Progress":
        """Make one that goes on from here, and whose time is up."""
        proposals = list(self.proposals)
        return Progress(self.watch.hurried(), proposals, self.service, self.person)


@dataclass(frozen=True, slots=True)
class Sorted(Ranked):
    """A caller's candidates in order, and those left out, by id, with the reason for each."""

    left_out: dict[str, Barred]


class Asked(NamedTuple):
    """A wish, and how far it has come."""

    wish: Wish
    progress: Progress


class Service:
    """Makes lists and takes events in, over one bundle.

    Args:
        bundle: catalogue, recommender and histories.
        state: live events and served lists.
        interpret: says what the live EVENTS of one user mean.
    """

    def __init__(
        self, bundle: "Bundle", state: UserState, interpret: Callable[[pa.Table], Taken]
    ) -> None:
        self.bundle, self.state = bundle, state
        self._titles: list[str] = bundle.items["title"].to_pylist()
        self._ids: list[str] = bundle.items["item_id"].to_pylist()
        self._rows = {item_id: row for row, item_id in enumerate(self._ids)}
        self._reading = Reading(state)
        self._people = People(bundle, self._rows, interpret)

    def row(self, item_id: str) -> int:
        """Catalogue row of an item, -1 if unknown."""
        return self._rows.get(item_id, -1)

    def item_id(self, row: int) -> str:
        """Id of a catalogue row."""
        return self._ids[row]

    def title(self, row: int) -> str:
        """Title of a catalogue row."""
        return self._titles[row]

    def unknown(self, wish: Wish, item_ids: Sequence[str] = ()) -> list[str]:
        """Name what a wish, or beside it `item_ids`, names and the catalogue lacks."""
        named = [*item_ids, *wish.session, *wish.exclude]
        lacking = [item_id for item_id in named if item_id not in self._rows]
        newcomers = self.bundle.recommender.newcomers
        if newcomers and wish.stated != Stated():
            lacking += newcomers.tastes.unknown(wish.stated)
        return list(dict.fromkeys([*lacking, *self._people.unknown(wish)]))

    def recommend(self, wish: Wish, progress: Progress) -> Ranked:
        """Make the list that `wish` asks for; a person of whom nothing is known gets the popular.

        Where the state does not answer, the list is made of what the bundle knows; what is missing
        is noted.
        """
        [ranked] = self.recommend_all([Asked(wish, progress)])
        return ranked

    def recommend_all(self, asked: Sequence[Asked]) -> list[Ranked]:
        """Make the lists of several wishes in one go, each as it would be alone."""
        queries = self._begin(asked)
        start = time.perf_counter()
        lists = recommended(self.bundle.recommender, queries)
        spent = 1000 * (time.perf_counter() - start)
        for one in asked:
            one.progress.watch.milliseconds["recommend"] = spent
        return lists

    def rank(self, wish: Wish, item_ids: Sequence[str], progress: Progress) -> Sorted:
        """Order a caller's candidates, without what the person finished or refused.

        Near-duplicates of that are left out too, and what cannot be played. Of the
        candidates that are near-duplicates of one another each is ranked. What the state does not
        tell is missing, as in `recommend`.
        """
        [query] = self._begin([Asked(wish, progress)])
        person = query.person
        rows = np.unique([row for row in map(self.row, item_ids) if row >= 0]).astype(np.int32)
        barred = self._barred(person, rows)
        kept = rows[[int(row) not in barred for row in rows]]
        with progress.watch.stage("recommend"):
            [ranked] = self.bundle.recommender.rank(
                person.history,
                Histories.of([kept]),
                k=wish.k,
                at=wish.micros,
                context=context_of([query]),
                attempt=progress,
            )
        left_out = {self._ids[row]: barred[row] for row in rows.tolist() if row in barred}
        made = {one.name: getattr(ranked, one.name) for one in fields(Ranked)}
        return Sorted(**made, left_out=left_out)

    def similar(self, row: int, k: int, attempt: Attempt) -> Ranked:
        """List the items most like one."""
        with attempt.watch.stage("similar"):
            return self.bundle.recommender.similar(row, k)

    def log(self, shown: Sequence[tuple[Wish, Ranked]]) -> None:
        """Store lists as they were shown.

        Raises:
            StateError: they cannot be stored.
        """
        self.state.log_served(self.served(shown))

    def person(self, wish: Wish, attempt: Attempt) -> Person:
        """Tell who asks; without the state, as far as the bundle knows, which is noted."""
        [person] = self._persons([(wish, attempt.watch)])
        return person

    def _begin(self, asked: Sequence[Asked]) -> list[Query]:
        """Find out who asks, where that is not known yet."""
        new = [one for one in asked if one.progress.person is None]
        persons = self._persons([(one.wish, one.progress.watch) for one in new])
        for one, person in zip(new, persons, strict=True):
            one.progress.service, one.progress.person = self, person
        return [Query(wish, known.person, known) for wish, known in asked if known.person]

    def _persons(self, asking: Sequence[tuple[Wish, Stopwatch]]) -> list[Person]:
        start = time.perf_counter()
        lives = [self._live(wish, watch) for wish, watch in asking]
        persons = self._people.persons(
            [(one[0], live) for one, live in zip(asking, lives, strict=True)]
        )
        spent = 1000 * (time.perf_counter() - start)
        for _, watch in asking:
            watch.milliseconds["history"] = spent
        return persons

    def _live(self, wish: Wish, watch: Stopwatch) -> Live | None:
        return None if wish.user_id is None else self._reading.live(wish.user_id, watch)

    def _barred(self, person: Person, rows: Idx) -> dict[int, Barred]:
        """Rows that a person's candidates may not have, among them those of `rows`, and why."""
        knowledge = self.bundle.recommender.knowledge
        over = Histories.of([np.concatenate([person.finished, person.refused])])
        barred: dict[int, Barred] = dict.fromkeys(rows[~knowledge.playable[rows]], "unplayable")
        return barred | dict.fromkeys(knowledge.copies.spread(over).row(0), "finished_or_refused")

    def served(self, shown: Sequence[tuple[Wish, Ranked]]) -> pa.Table:
        """Write lists as RECOMMENDATIONS, one below the other."""
        lengths = [len(ranked.items) for _, ranked in shown]

        def each(values: Iterable[object]) -> list[object]:
            """One value a list, for each of its items."""
            both = zip(values, lengths, strict=True)
            return [one for value, length in both for one in [value] * length]

        lists = [ranked for _, ranked in shown]
        columns = {
            "request_id": each(wish.request_id for wish, _ in shown),
            "user_id": each(wish.user_id or "" for wish, _ in shown),
            "item_id": [self._ids[row] for ranked in lists for row in ranked.items.tolist()],
            "rank": [place for length in lengths for place in range(1, length + 1)],
            "score": np.concatenate([ranked.scores for ranked in lists]),
            "propensity": np.concatenate([ranked.propensities for ranked in lists]),
            "policy": each(ranked.policy for ranked in lists),
            "model": [self.bundle.version] * sum(lengths),
            "at": each(wish.micros for wish, _ in shown),
            "reason": [reason for ranked in lists for reason in ranked.reasons],
        }
        return pa.table(columns, schema=RECOMMENDATIONS)


def recommending(wish: Wish) -> Callable[[Service, Progress], Ranked]:
    """Let whichever service answers make the list that is wished for."""
    return lambda service, progress: service.recommend(wish, progress)
