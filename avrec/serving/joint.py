"""Lists of several people, made in one go where their requests come at the same time.

What a list holds does not depend on the others beside it. A request whose time is nearly up, one
that goes on from an earlier attempt, and one of stated tastes are each served alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

from avrec.candidates import Attempt
from avrec.interactions import Histories, stacked
from avrec.models.newcomers import Stated
from avrec.recommend import Context, Ranked, Recommender
from avrec.serving.people import Person, Wish
from avrec.stopwatch import Stopwatch

HURRY_SECONDS = 0.1


class Query(NamedTuple):
    """What one request asks of the recommender."""

    wish: Wish
    person: Person
    attempt: Attempt

    @property
    def alone(self) -> bool:
        """Whether it is to be served by itself."""
        late = self.attempt.watch.left_seconds() < HURRY_SECONDS
        return late or bool(self.attempt.proposals) or self.wish.stated != Stated()


def recommended(recommender: Recommender, queries: Sequence[Query]) -> list[Ranked]:
    """Make a list for each query, those of the same length together."""
    alone = [place for place, query in enumerate(queries) if query.alone]
    made = {place: _one(recommender, queries[place]) for place in alone}
    rest = [place for place in range(len(queries)) if place not in made]
    for k in {queries[place].wish.k for place in rest}:
        places = [place for place in rest if queries[place].wish.k == k]
        lists = _same_length(recommender, [queries[place] for place in places])
        made.update(zip(places, lists, strict=True))
    return [made[place] for place in range(len(queries))]


def context_of(queries: Sequence[Query]) -> Context:
    """What the recommender is told of those who ask."""
    wishes = [query.wish for query in queries]
    stated = [wish.stated for wish in wishes]
    return Context(
        finished=Histories.of([query.person.finished for query in queries]),
        stated=stated if any(one != Stated() for one in stated) else (),
        segments=[wish.language for wish in wishes],
        request_ids=[wish.request_id for wish in wishes],
    )


def _one(recommender: Recommender, query: Query) -> Ranked:
    [ranked] = _made(recommender, [query], query.attempt)
    return ranked


def _same_length(recommender: Recommender, queries: Sequence[Query]) -> list[Ranked]:
    if len(queries) == 1:
        return [_one(recommender, queries[0])]
    watch = Stopwatch(min(query.attempt.watch.left_seconds() for query in queries))
    lists = _made(recommender, queries, Attempt(watch))
    for query in queries:
        query.attempt.watch.milliseconds.update(watch.milliseconds)
        for lacking in watch.degraded:
            query.attempt.watch.lack(lacking)
    return lists


def _made(recommender: Recommender, queries: Sequence[Query], attempt: Attempt) -> list[Ranked]:
    histories = [query.person.history for query in queries]
    return recommender.recommend(
        histories[0] if len(histories) == 1 else stacked(histories),
        k=queries[0].wish.k,
        at=max(query.wish.micros for query in queries),
        exclude=Histories.of([query.person.exclude for query in queries]),
        context=context_of(queries),
        attempt=attempt,
    )
