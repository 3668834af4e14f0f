"""Routes that put, delete and tell of single items.

Ids in a path are percent-encoded; the routes of what lies below an item come before these.
"""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException

from avrec.serving.catalogue import Entry
from avrec.serving.messages import MAX_ID_LENGTH, ItemPut, ItemTold
from avrec.serving.models import Models
from avrec.serving.models_api import TheModels

routes = APIRouter(prefix="/v1")


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
    if models.active.row(item_id) < 0 and models.catalogue.get(item_id) is None:
        raise HTTPException(404, "this item is not in the catalogue")
    return await asyncio.to_thread(_delete, item_id, models)


@routes.get("/items/{item_id:path}")
async def tell(item_id: ItemId, models: TheModels) -> ItemTold:
    """Tell what is known of an item, and what became of it since it was put."""
    return _told(item_id, models)


def _put(item_id: str, item: ItemPut, models: Models) -> ItemTold:
    now, columns = datetime.now(UTC), item.model_dump(mode="json")
    columns["published_at"] = (
        columns["published_at"] or _published(item_id, models) or now.isoformat()
    )
    models.catalogue.put(item_id, columns, now)
    models.follow()
    return _told(item_id, models)


def _delete(item_id: str, models: Models) -> ItemTold:
    models.catalogue.delete(item_id, datetime.now(UTC))
    models.follow()
    return _told(item_id, models)


def _published(item_id: str, models: Models) -> str | None:
    """When an item came out that is there already."""
    row = models.active.row(item_id)
    at = None if row < 0 else models.active.bundle.items["published_at"][row].as_py()
    return None if at is None else at.isoformat()


def _told(item_id: str, models: Models) -> ItemTold:
    entry, row = models.catalogue.get(item_id), models.active.row(item_id)
    if entry is None and row < 0:
        raise HTTPException(404, "this item is not in the catalogue")
    item: dict[str, Any] = {}
    if row >= 0:
        [item] = models.active.bundle.items.slice(row, 1).to_pylist()
    known = {name: item.get(name) for name in ItemPut.model_fields}
    return ItemTold.model_validate({**known, "item_id": item_id, **_history(entry, models)})


def _history(entry: Entry | None, models: Models) -> dict[str, Any]:
    if entry is None:
        return {"status": "ready"}
    told = {name: getattr(entry, name) for name in ("status", "put_at", "done_at", "error")}
    shown = models.catalogue.shown_at(entry)
    if shown is not None:
        told["seconds_to_list"] = (shown - datetime.fromisoformat(entry.put_at)).total_seconds()
    return told
