"""Routes that list items: recommendations, a caller's candidates in order, and what is similar."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException

from avrec.candidates import Attempt
from avrec.models.newcomers import Stated
from avrec.serving.auth import Grant
from avrec.serving.messages import (
    MAX_DEADLINE_MS,
    Answer,
    Ask,
    K,
    LeftOut,
    RankAsk,
    Ranking,
    Shown,
    Similar,
)
from avrec.serving.meters import Meters
from avrec.serving.models_api import TheModels
from avrec.serving.people import Wish
from avrec.serving.record import Made
from avrec.serving.service import Progress, Service, Sorted

if TYPE_CHECKING:
    from avrec.recommend import Ranked

routes = APIRouter(prefix="/v1")


async def the_grant(request: Request) -> Grant:
    """Give what the key of the request allows."""
    return request.state.grant


async def the_meters(request: Request) -> Meters:
    """Give those of the application."""
    return request.app.state.meters


TheGrant = Annotated[Grant, Depends(the_grant)]
TheMeters = Annotated[Meters, Depends(the_meters)]


@routes.post("/recommendations")
async def recommendations(ask: Ask, grant: TheGrant, request: Request) -> Answer:
    """List the best items for a user, a session, or nobody in particular."""
    wish = _wish(request, ask, grant, ask.k, ask.exclude)
    return _answer(await request.app.state.lists.recommend(wish, ask.deadline_ms))


@routes.post("/rank")
async def rank(ask: RankAsk, grant: TheGrant, request: Request) -> Ranking:
    """Put the caller's own candidates in the order of a user's taste."""
    wish = _wish(request, ask, grant, ask.k or len(ask.items))

    def make(service: Service, so_far: Progress) -> Sorted:
        return service.rank(wish, ask.items, so_far)

    made = await request.app.state.lists.make(wish, make, ask.deadline_ms)
    assert isinstance(made.ranked, Sorted)
    left = [LeftOut(item_id=i, reason=why) for i, why in made.ranked.left_out.items()]
    return Ranking(**dict(_answer(made, ask.items)), left_out=left)


@routes.get("/items/{item_id:path}/similar")
async def similar(
    item_id: str,
    models: TheModels,
    request: Request,
    k: Annotated[K, Query()] = 10,
    deadline_ms: Annotated[int | None, Query(ge=1, le=MAX_DEADLINE_MS)] = None,
) -> Similar:
    """List the items most like one, or none where that takes too long. Percent-encode the id."""
    service, attempt, state = models.active, Attempt(), request.app.state
    row = service.row(item_id)
    if row < 0:
        raise HTTPException(404, "this item is not in the catalogue")
    ranked = await state.lists.in_time(partial(service.similar, row, k, attempt), deadline_ms)
    lacking = ["similar"] if ranked is None else []
    milliseconds = dict(attempt.watch.milliseconds)
    state.meters.observe(milliseconds)
    state.meters.count_shown([], lacking)
    return Similar(
        item_id=item_id,
        model=service.bundle.version,
        items=[] if ranked is None else shown(service, ranked),
        degraded=lacking,
        milliseconds=milliseconds,
    )


def _wish(
    request: Request, ask: Ask | RankAsk, grant: Grant, k: int, exclude: Sequence[str] = ()
) -> Wish:
    likes = ask.context.likes
    return Wish(
        request_id=request.state.request_id,
        k=k,
        at=datetime.now(UTC),
        user_id=None if ask.user_id is None else grant.own(ask.user_id),
        session=ask.context.session,
        exclude=exclude,
        stated=Stated(tuple(likes.items), tuple(likes.tags), tuple(likes.creators)),
        language=ask.context.language,
        profile=ask.context.profile,
    )


def _answer(made: Made, named: Sequence[str] = ()) -> Answer:
    wish, service, ranked, watch = made
    return Answer(
        request_id=wish.request_id,
        model=service.bundle.version,
        policy=ranked.policy,
        at=wish.at,
        items=shown(service, ranked),
        unknown=service.unknown(wish, named),
        degraded=list(watch.degraded),
        milliseconds=dict(watch.milliseconds),
    )


def shown(service: Service, ranked: "Ranked") -> list[Shown]:
    """Write a list as it goes over the wire."""
    entries = zip(
        ranked.items,
        ranked.scores,
        ranked.propensities,
        ranked.sources,
        ranked.reasons,
        strict=True,
    )
    return [
        Shown(
            item_id=service.item_id(row),
            title=service.title(row),
            rank=rank,
            score=float(score),
            propensity=float(propensity),
            sources=list(sources),
            reason=reason,
        )
        for rank, (row, score, propensity, sources, reason) in enumerate(entries, start=1)
    ]
