"""Routes that list items: recommendations, a caller's candidates in order, and what is similar."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException

from avrec.candidates import Attempt
from avrec.models.newcomers import Stated
from avrec.serving.auth import Grant
from avrec.serving.messages import Answer, Ask, K, LeftOut, RankAsk, Ranking, Shown, Similar
from avrec.serving.meters import Meters
from avrec.serving.models import Models
from avrec.serving.models_api import TheModels
from avrec.serving.people import Wish
from avrec.serving.service import Service, Sorted
from avrec.serving.state import StateError

if TYPE_CHECKING:
    from avrec.recommend import Ranked

logger = logging.getLogger(__name__)
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
async def recommendations(
    ask: Ask, grant: TheGrant, models: TheModels, meters: TheMeters
) -> Answer:
    """List the best items for a user, a session, or nobody in particular."""
    user_id = None if ask.user_id is None else grant.own(ask.user_id)
    return await asyncio.to_thread(_recommend, ask, user_id, models, meters)


@routes.post("/rank")
async def rank(ask: RankAsk, grant: TheGrant, models: TheModels, meters: TheMeters) -> Ranking:
    """Put the caller's own candidates in the order of a user's taste."""
    user_id = None if ask.user_id is None else grant.own(ask.user_id)
    return await asyncio.to_thread(_rank, ask, user_id, models, meters)


@routes.get("/items/{item_id:path}/similar")
async def similar(
    item_id: str, models: TheModels, meters: TheMeters, k: Annotated[K, Query()] = 10
) -> Similar:
    """List the items most like one. Percent-encode the id."""
    service, attempt = models.active, Attempt()
    row = service.row(item_id)
    if row < 0:
        raise HTTPException(404, "this item is not in the catalogue")
    ranked = await asyncio.to_thread(service.similar, row, k, attempt)
    meters.observe(attempt.watch.milliseconds)
    return Similar(
        item_id=item_id,
        model=service.bundle.version,
        items=_shown(service, ranked),
        milliseconds=attempt.watch.milliseconds,
    )


def _recommend(ask: Ask, user_id: str | None, models: Models, meters: Meters) -> Answer:
    attempt, wish = Attempt(), _wish(ask, user_id, ask.k, ask.exclude)
    service, ranked = models.answer(user_id, lambda one, at: one.recommend(wish, at), attempt)
    _log(wish, ranked, attempt, service, meters)
    return _answer(wish, ranked, attempt, service)


def _rank(ask: RankAsk, user_id: str | None, models: Models, meters: Meters) -> Ranking:
    attempt, wish = Attempt(), _wish(ask, user_id, ask.k or len(ask.items))
    service, ranked = models.answer(user_id, lambda one, at: one.rank(wish, ask.items, at), attempt)
    assert isinstance(ranked, Sorted)
    _log(wish, ranked, attempt, service, meters)
    answer = _answer(wish, ranked, attempt, service, ask.items)
    left = [LeftOut(item_id=item_id, reason=why) for item_id, why in ranked.left_out.items()]
    return Ranking(**dict(answer), left_out=left)


def _wish(ask: Ask | RankAsk, user_id: str | None, k: int, exclude: Sequence[str] = ()) -> Wish:
    likes = ask.context.likes
    return Wish(
        request_id=secrets.token_hex(12),
        k=k,
        at=datetime.now(UTC),
        user_id=user_id,
        session=ask.context.session,
        exclude=exclude,
        stated=Stated(tuple(likes.items), tuple(likes.tags), tuple(likes.creators)),
        language=ask.context.language,
    )


def _log(wish: Wish, ranked: "Ranked", attempt: Attempt, service: Service, meters: Meters) -> None:
    try:
        service.log(wish, ranked, attempt)
    except StateError as error:  # a person is better served unlogged than not at all
        logger.error("list not stored: %s", error)  # noqa: TRY400
        meters.unlogged.inc()
    meters.observe(attempt.watch.milliseconds)


def _answer(
    wish: Wish, ranked: "Ranked", attempt: Attempt, service: Service, named: Sequence[str] = ()
) -> Answer:
    return Answer(
        request_id=wish.request_id,
        model=service.bundle.version,
        policy=ranked.policy,
        at=wish.at,
        items=_shown(service, ranked),
        unknown=service.unknown(wish, named),
        milliseconds=attempt.watch.milliseconds,
    )


def _shown(service: Service, ranked: "Ranked") -> list[Shown]:
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
