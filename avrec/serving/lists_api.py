"""Routes that list items: recommendations, a caller's candidates in order, and what is similar."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from avrec.candidates import Attempt
from avrec.models.newcomers import Stated
from avrec.serving.auth import Grant
from avrec.serving.messages import (
    MAX_DEADLINE_MS,
    Answer,
    Ask,
    K,
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
PLACE = tuple(Shown.model_fields)


async def the_grant(request: Request) -> Grant:
    """Give what the key of the request allows."""
    return request.state.grant


async def the_meters(request: Request) -> Meters:
    """Give those of the application."""
    return request.app.state.meters


TheGrant = Annotated[Grant, Depends(the_grant)]
TheMeters = Annotated[Meters, Depends(the_meters)]


@routes.post("/recommendations", response_model=Answer)
async def recommendations(request: Request, ask: Ask) -> Response:
    """List the best items for a user, a session, or nobody in particular."""
    wish = _wish(request, ask, ask.k, ask.exclude)
    made = await request.app.state.lists.recommend(wish, ask.deadline_ms)
    return written(_answer(made))


@routes.post("/rank", response_model=Ranking)
async def rank(request: Request, ask: RankAsk) -> Response:
    """Put the caller's own candidates in the order of a user's taste."""
    wish = _wish(request, ask, ask.k or len(ask.items))

    def make(service: Service, so_far: Progress) -> Sorted:
        return service.rank(wish, ask.items, so_far)

    made = await request.app.state.lists.make(wish, make, ask.deadline_ms)
    assert isinstance(made.ranked, Sorted)
    left = [{"item_id": i, "reason": why} for i, why in made.ranked.left_out.items()]
    return written(_answer(made, ask.items) | {"left_out": left})


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


def written(answer: dict[str, object]) -> Response:
    """Write an answer of plain values; the route's model says what it holds."""
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


def _wish(request: Request, ask: Ask | RankAsk, k: int, exclude: Sequence[str] = ()) -> Wish:
    likes, grant = ask.context.likes, request.state.grant
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


def _answer(made: Made, named: Sequence[str] = ()) -> dict[str, object]:
    """What `Answer` says."""
    wish, service, ranked, watch = made
    return {
        "request_id": wish.request_id,
        "model": service.bundle.version,
        "policy": ranked.policy,
        "at": wish.at,
        "items": _places(service, ranked),
        "unknown": service.unknown(wish, named),
        "degraded": list(watch.degraded),
        "milliseconds": dict(watch.milliseconds),
    }


def shown(service: Service, ranked: "Ranked") -> list[Shown]:
    """Write a list as it goes over the wire."""
    return [Shown.model_validate(place) for place in _places(service, ranked)]


def _places(service: Service, ranked: "Ranked") -> list[dict[str, object]]:
    """What `Shown` says of each item."""
    rows = ranked.items.tolist()
    columns = zip(
        map(service.item_id, rows),
        map(service.title, rows),
        range(1, len(rows) + 1),
        ranked.scores.tolist(),
        ranked.propensities.tolist(),
        ranked.sources,
        ranked.reasons,
        strict=True,
    )
    return [dict(zip(PLACE, place, strict=True)) for place in columns]
