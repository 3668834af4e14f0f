"""Lists of several people, made in one go where their requests come at the same time.

What a list holds does not depend on the others beside it. A request whose time is nearly up, one
that goes on from an earlier attempt, and one of stated tastes are each served alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

from avrec.candidates import Attempt
from avrec.interactions import Histories, stacked
from avrec.recommend import Context, Ranked, Recommender
from avrec.stopwatch import Stopwatch

HURRY_SECONDS = 0.1


class Query(NamedTuple):
    """What one request asks of the recommender: one row of each."""

    history: Histories
    exclude: Histories
    k: int
    at: int
    context: Context
    attempt: Attempt

    @property
    def alone(self) -> bool:
        """Whether it is to be served by itself."""
        late = self.attempt.watch.left_seconds() < HURRY_SECONDS
        return late or bool(self.attempt.proposals) or bool(self.context.stated)


def recommended(recommender: Recommender, queries: Sequence[Query]) -> list[Ranked]:
    """Make a list for each query, those of the same length together."""
    alone = [place for place, query in enumerate(queries) if query.alone]
    made = {place: _one(recommender, queries[place]) for place in alone}
    rest = [place for place in range(len(queries)) if place not in made]
    for k in {queries[place].k for place in rest}:
        places = [place for place in rest if queries[place].k == k]
        lists = _same_length(recommender, [queries[place] for place in places])
        made.update(zip(places, lists, strict=True))
    return [made[place] for place in range(len(queries))]


def _one(recommender: Recommender, query: Query) -> Ranked:
    [ranked] = recommender.recommend(
        query.history,
        k=query.k,
        at=query.at,
        exclude=query.exclude,
        context=query.context,
        attempt=query.attempt,
    )
    return ranked


def _same_length(recommender: Recommender, queries: Sequence[Query]) -> list[Ranked]:
    if len(queries) == 1:
        return [_one(recommender, queries[0])]
    watch = Stopwatch(min(query.attempt.watch.left_seconds() for query in queries))
    lists = recommender.recommend(
        stacked([query.history for query in queries]),
        k=queries[0].k,
        at=max(query.at for query in queries),
        exclude=stacked([query.exclude for query in queries]),
        context=_context([query.context for query in queries]),
        attempt=Attempt(watch),
    )
    for query in queries:
        query.attempt.watch.milliseconds.update(watch.milliseconds)
        for lacking in watch.degraded:
            query.attempt.watch.lack(lacking)
    return lists


def _context(contexts: Sequence[Context]) -> Context:
    finished = [one.finished for one in contexts if one.finished is not None]
    return Context(
        finished=stacked(finished) if len(finished) == len(contexts) else None,
        segments=[segment for one in contexts for segment in one.segments],
        request_ids=[request_id for one in contexts for request_id in one.request_ids],
    )
