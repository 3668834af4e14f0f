"""Routes that put, delete and tell of single items.

Ids in a path are percent-encoded; the routes of what lies below an item come before these.
"""

import asyncio
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException

from avrec.serving.catalogue import Entry
from avrec.serving.messages import MAX_ID_LENGTH, ItemPut, ItemTold
from avrec.serving.models import Models
from avrec.serving.models_api import TheModels

routes = APIRouter(prefix="/v1")
ABSENT = HTTPException(404, "this item is not in the catalogue")


def _right(item_id: str) -> str:
    if not item_id or not item_id.isprintable() or len(item_id) > MAX_ID_LENGTH:
        raise HTTPException(404, "no item can have this id")
    return item_id


ItemId = Annotated[str, Depends(_right)]


@routes.put("/items/{item_id:path}")
async def put(item_id: ItemId, item: ItemPut, models: TheModels) -> ItemTold:
    """Put an item; all replicas list it in seconds, one with a file when that is embedded."""
    if item.uri is not None and not models.catalogue.reaches(item.uri):
        raise HTTPException(
            422, "uri: may be http or https, or lie below a place of `media` in the service's args"
        )
    return await asyncio.to_thread(_put, item_id, item, models)


@routes.delete("/items/{item_id:path}")
async def delete(item_id: ItemId, models: TheModels) -> ItemTold:
    """Delete an item; it is in no list of any replica after seconds, nor in the next training."""
    return await asyncio.to_thread(_delete, item_id, models)


@routes.get("/items/{item_id:path}")
async def tell(item_id: ItemId, models: TheModels) -> ItemTold:
    """Tell what is known of an item, and what became of it since it was put."""
    return await asyncio.to_thread(_tell, item_id, models)


def _put(item_id: str, item: ItemPut, models: Models) -> ItemTold:
    now, columns = datetime.now(UTC), item.model_dump(mode="json")
    if columns["published_at"] is None:
        columns["published_at"] = _published(item_id, models) or now.isoformat()
    return _told(models.catalogue.put(item_id, columns, now), models)


def _delete(item_id: str, models: Models) -> ItemTold:
    if models.active.row(item_id) < 0 and models.catalogue.read(item_id) is None:
        raise ABSENT
    return _told(models.catalogue.delete(item_id, datetime.now(UTC)), models)


def _tell(item_id: str, models: Models) -> ItemTold:
    entry, row = models.catalogue.read(item_id), models.active.row(item_id)
    if entry is not None:
        return _told(entry, models)
    if row < 0:
        raise ABSENT
    [item] = models.active.bundle.items.slice(row, 1).to_pylist()
    return ItemTold(**item, status="ready")


def _published(item_id: str, models: Models) -> str | None:
    """When an item came out that is there already."""
    entry, row = models.catalogue.read(item_id), models.active.row(item_id)
    if entry is not None:
        return entry.item.get("published_at")
    at = None if row < 0 else models.active.bundle.items["published_at"][row].as_py()
    return None if at is None else at.isoformat()


def _told(entry: Entry, models: Models) -> ItemTold:
    shown, told = models.catalogue.shown_at(entry), asdict(replace(entry, vectors={}))
    if shown is not None:
        put_at = datetime.fromisoformat(entry.put_at)
        told["seconds_to_list"] = (shown - put_at).total_seconds()
    return ItemTold.model_validate({**told, **entry.item})
