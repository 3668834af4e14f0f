"""Routes that tell and change which models answer."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException

from avrec.errors import ArtifactError
from avrec.serving.messages import Activation, KeptModel, KeptModels, Lines
from avrec.serving.models import Models
from avrec.serving.routing import Routing, RoutingError

routes = APIRouter(prefix="/models")


async def the_models(request: Request) -> Models:
    """Give those of the application."""
    return request.app.state.models


TheModels = Annotated[Models, Depends(the_models)]


@routes.get("")
async def kept(models: TheModels) -> KeptModels:
    """List the versions that are kept, and say which answer."""
    found = await asyncio.to_thread(models.shelf.kept)
    return KeptModels(
        **_lines(models.routing).model_dump(),
        loading=models.stock.loading,
        refused=models.stock.refused,
        models=[KeptModel(**one._asdict()) for one in found],
    )


@routes.post("/rollback")
async def roll_back(models: TheModels) -> Lines:
    """Drop the candidate, or else go back to the version before; all replicas follow."""
    return await _changed(models.roll_back)


@routes.post("/{version}/activate")
async def activate(version: str, models: TheModels, how: Activation | None = None) -> Lines:
    """Check a version, then let it answer; all replicas follow, and no request is lost."""
    asked = how or Activation()
    if not asked.share and not asked.shadow:
        raise HTTPException(
            422, "with a share of 0 it must be a shadow; or POST /v1/models/rollback"
        )
    every = await asyncio.to_thread(models.shelf.kept)
    if version not in {one.version for one in every}:
        raise HTTPException(404, "there is no such version; GET /v1/models lists them")
    return await _changed(partial(models.activate, version, asked.share, shadow=asked.shadow))


async def _changed(change: Callable[[], Routing]) -> Lines:
    try:
        return _lines(await asyncio.to_thread(change))
    except (ArtifactError, RoutingError) as error:
        raise HTTPException(409, str(error)) from error


def _lines(routing: Routing) -> Lines:
    told = asdict(routing)
    return Lines(**{name: told[name] for name in Lines.model_fields})
