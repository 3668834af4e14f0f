"""The HTTP interface: routes over a `Service`, and one shape for every error.

Blocking work (SQLite, numpy) runs in threads, never on the event loop: a list takes milliseconds,
a synced commit as long as the disk likes, and with Serve's throughput settings the loop of this
app is the loop that accepts connections.

Ids in a path are percent-encoded (`urllib.parse.quote(item_id, safe="")`); slashes may also stand
as they are.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from avrec import __version__
from avrec.log import pairs
from avrec.serving import catalogue_api, lists_api, models_api
from avrec.serving.auth import Keys
from avrec.serving.gate import DOCS_FILES, Gate, fault
from avrec.serving.intake import Intake, describe
from avrec.serving.lists import Deadlines, Lists
from avrec.serving.lists_api import TheGrant, TheMeters, written
from avrec.serving.messages import (
    MAX_ID_LENGTH,
    Ask,
    Batch,
    Fault,
    Forgotten,
    Health,
    RankAsk,
    Ready,
    Receipt,
)
from avrec.serving.models import Models
from avrec.serving.models_api import TheModels
from avrec.serving.page.gallery import EMPTY, Galleries, Gallery
from avrec.serving.page.router import page
from avrec.serving.rates import Rates
from avrec.serving.readiness import Readiness
from avrec.serving.record import Records
from avrec.serving.service import Service
from avrec.serving.shortcut import Excusing, Route, Shortcut
from avrec.serving.spool import Spool
from avrec.serving.state import StateError
from avrec.stopwatch import Stopwatch

logger = logging.getLogger(__name__)
MAX_BODY_BYTES = 1_000_000
KINDS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 409: "conflict"}
KINDS |= {413: "too_large", 422: "invalid"}
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault} for status in (400, 401, 403, 404, 409, 413, 422, 429, 503)
}

v1 = APIRouter(prefix="/v1", responses=FAULTS, dependencies=[Depends(HTTPBearer(auto_error=False))])
v1.include_router(models_api.routes)
plain = APIRouter()


def create_api(
    models: Models,
    keys: Keys,
    rates: Rates | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    read_gallery: Callable[[], Gallery] = lambda: EMPTY,
    deadlines: Deadlines | None = None,
) -> FastAPI:
    """Make the application; `read_gallery` reads what its page shows and plays."""
    meters = models.meters
    api = FastAPIOffline(
        title="avrec",
        version=__version__,
        redoc_url=None,
        static_url=DOCS_FILES,
        lifespan=_while_served,
    )
    api.state.models, api.state.meters, api.state.keys = models, meters, keys
    api.state.galleries, api.state.readiness = Galleries(read_gallery), Readiness(models)
    api.state.intake = Intake(models)
    records = Records(meters, keys, Spool(meters))
    api.state.lists = Lists(models, deadlines or Deadlines(), records)
    api.add_middleware(Shortcut, routes=SHORT, excuses=EXCUSES)
    api.add_middleware(
        Gate, keys=keys, meters=meters, rates=rates or Rates(), max_body_bytes=max_body_bytes
    )
    api.include_router(v1)
    api.include_router(lists_api.routes, responses=FAULTS, dependencies=v1.dependencies)
    api.include_router(plain)
    api.include_router(page)
    api.include_router(catalogue_api.routes, responses=FAULTS, dependencies=v1.dependencies)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(StateError, _unavailable)
    api.add_exception_handler(Exception, _broken)
    return api


@asynccontextmanager
async def _while_served(api: FastAPI) -> AsyncIterator[None]:
    yield
    api.state.models.stop()


async def _service(request: Request) -> Service:
    return request.app.state.models.active


TheService = Annotated[Service, Depends(_service)]


@v1.post("/events", response_model=Receipt)
async def events(request: Request, batch: Batch) -> Response:
    """Take events in. The answer comes when they are on disk; the user's next list knows them."""
    watch, state, own = Stopwatch(), request.app.state, request.state.grant.own
    with watch.stage("events"):
        receipt = await state.intake.take(batch.events, own)
    state.meters.observe(watch.milliseconds)
    for status in ("accepted", "duplicate", "refused"):
        state.meters.events.labels(status).inc(getattr(receipt, status))
    return written(receipt.model_dump())


@v1.delete("/users/{user_id:path}")
async def forget(user_id: str, grant: TheGrant, service: TheService, request: Request) -> Forgotten:
    """Forget a user: state, events not drained yet, and their past in the next training."""
    if not user_id or not user_id.isprintable() or len(user_id) > MAX_ID_LENGTH:
        raise HTTPException(404, "no user can have this id")
    at = datetime.now(UTC)
    count = await asyncio.to_thread(service.state.forget, grant.own(user_id), at)
    name = request.app.state.keys.pseudonym(grant.own(user_id))
    logger.info("forgotten user=%s events=%d by key=%s", name, count, grant.key_id)
    return Forgotten(events=count, at=at)


@plain.get("/healthz")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health()


@plain.get("/readyz", responses={503: {"model": Fault}})
async def readyz(models: TheModels, request: Request) -> Ready:
    """Say that a bundle answers and changes are followed, and whether the state answers.

    A state that went away is told with status 200, for lists go on without it, and all replicas
    have the same one. Where it never answered yet, the status is 503.
    """
    models.check()
    return Ready(
        model=models.routing.active,
        loading=models.stock.loading,
        refused=models.stock.refused,
        state=await request.app.state.readiness.look(),
    )


@plain.get(
    "/metrics",
    dependencies=v1.dependencies,
    responses=FAULTS,
    response_class=PlainTextResponse,
)
async def metrics(meters: TheMeters) -> Response:
    """Counters of this replica as Prometheus text."""
    return Response(meters.text(), headers={"content-type": meters.content_type})


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    media_type = request.headers.get("content-type", "")
    if request.method == "POST" and "json" not in media_type.lower():
        return fault(422, "invalid", "send JSON with the header 'Content-Type: application/json'")
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return fault(422, "invalid", "the body is not JSON")
    return fault(422, "invalid", describe(error.errors()))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = KINDS.get(error.status_code, "refused")
    return fault(error.status_code, kind, str(error.detail))


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.error("state unavailable %s", pairs(request=_id(request), why=str(error)))
    return fault(503, "unavailable", "the state cannot be used; nothing was stored, try again")


async def _broken(request: Request, error: Exception) -> Response:
    name = type(error).__name__
    logger.error("request failed %s", pairs(request=_id(request), error=name))
    return fault(500, "internal", "this is our mistake; it is in the service's log")


def _id(request: Request) -> str:
    return request.state.request_id


EXCUSES: dict[type[Exception], Excusing] = {HTTPException: _refused, StateError: _unavailable}
SHORT = {
    one.path: one
    for one in (
        Route("/v1/recommendations", Ask, lists_api.recommendations),
        Route("/v1/rank", RankAsk, lists_api.rank),
        Route("/v1/events", Batch, events),
    )
}
