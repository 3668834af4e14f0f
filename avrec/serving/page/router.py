"""Routes of the page. What they read needs the scope `read`, as lists do.

A tenant's key sees that tenant's people and nobody else.
"""

import asyncio
import re
import time
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from avrec.candidates import Attempt
from avrec.serving.auth import OF, Grant
from avrec.serving.lists_api import TheGrant, shown
from avrec.serving.messages import MAX_ID_LENGTH, Id, K, Message, Shown
from avrec.serving.models_api import TheModels
from avrec.serving.page import OPEN, session
from avrec.serving.page.gallery import Gallery, Medium
from avrec.serving.page.status import Status, status_of
from avrec.serving.people import Wish
from avrec.serving.service import Progress, Service
from avrec.stopwatch import Stopwatch

page = APIRouter(include_in_schema=False)
CONTENT_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "media", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
    ]
)
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ALONE = SAFE | {"Content-Security-Policy": "default-src 'none'; sandbox"}
"""Headers of what is a catalogue's, which may hold anything."""
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
MAX_ITEMS, MAX_PEOPLE = 200, 20
BESIDE, BESIDE_SECONDS = "beside", 2.0


class Wanted(Message):
    """Items to be told of."""

    items: list[Id] = Field(max_length=MAX_ITEMS)


class Card(BaseModel):
    """What the page shows of an item besides its place in a list."""

    item_id: str
    title: str
    tags: list[str]
    kind: str | None = Field(description="audio or video, of what can be played.")
    seconds: float | None
    pictured: bool


class Past(BaseModel):
    """One item of a history."""

    item_id: str
    title: str
    at: datetime
    weight: float


class PersonSeen(BaseModel):
    """A person's history as of now, latest first."""

    user_id: str
    history: list[Past]


class Compared(Message):
    """A request for the list that another version makes."""

    version: str
    user_id: Id | None = None
    k: K = 10


class Span(NamedTuple):
    """Bytes [start, stop) of `size`."""

    start: int
    stop: int
    size: int


async def _service(request: Request) -> Service:
    return request.app.state.models.active


async def _gallery(request: Request) -> Gallery:
    state = request.app.state
    version = state.models.routing.active
    if state.galleries.is_of(version):
        return state.galleries.of(version)
    return await asyncio.to_thread(state.galleries.of, version)


TheService = Annotated[Service, Depends(_service)]
TheGallery = Annotated[Gallery, Depends(_gallery)]


async def _file(request: Request) -> Response:
    name = OPEN[request.scope["route"].path]
    headers = SAFE | {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    text = files(__package__).joinpath(name).read_text()
    kind = CONTENT_TYPES[name.rpartition(".")[2]]
    return Response(text, headers=headers, media_type=kind)


for _path in OPEN:
    page.add_api_route(_path, _file, methods=["GET"])


@page.post("/page/session", status_code=204)
async def enter(request: Request, response: Response, grant: TheGrant) -> None:
    """Make a session of the key that this request brings."""
    until = int(time.time()) + session.SECONDS
    encrypted = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    value = session.token(request.app.state.keys, grant.key_id, until)
    session.give(response, value, encrypted=encrypted)


@page.post("/page/leave", status_code=204)
async def leave(response: Response) -> None:
    """End the session in this browser."""
    response.delete_cookie(session.COOKIE)


@page.get("/page/people")
async def people(
    grant: TheGrant, service: TheService, q: Annotated[str, Query(max_length=MAX_ID_LENGTH)] = ""
) -> list[str]:
    """Some of the people whom the bundle knows and whose id holds `q`."""
    found = await asyncio.to_thread(_named, service.bundle.users.users.ids, grant, q)
    return [one.removeprefix(grant.own("")) for one in found]


@page.get("/page/people/{user_id:path}")
async def person(user_id: str, grant: TheGrant, service: TheService) -> PersonSeen:
    """A person's history, with what they did just now."""
    if not user_id or len(user_id) > MAX_ID_LENGTH or OF in user_id:
        raise HTTPException(404, "no user can have this id")
    wish = Wish(request_id="", k=1, at=datetime.now(UTC), user_id=grant.own(user_id))
    past = (await asyncio.to_thread(service.person, wish, Attempt())).history
    rows = zip(past.items, past.at, past.weights, strict=True)
    history = [
        Past(
            item_id=service.item_id(row),
            title=service.title(row),
            at=datetime.fromtimestamp(at / 1e6, UTC),
            weight=float(weight),
        )
        for row, at, weight in rows
    ]
    return PersonSeen(user_id=user_id, history=history[::-1][:MAX_ITEMS])


@page.post("/page/items")
async def cards(wanted: Wanted, service: TheService, gallery: TheGallery) -> list[Card]:
    """What there is to show of items; those that the catalogue lacks are left out."""
    rows = {item_id: service.row(item_id) for item_id in wanted.items}
    return [_card(item_id, row, service, gallery) for item_id, row in rows.items() if row >= 0]


@page.post("/page/beside")
async def beside(asked: Compared, grant: TheGrant, models: TheModels) -> list[Shown]:
    """Make a person's list with another version that is here; it is shown to nobody, nor stored."""
    service = models.services.get(asked.version)
    if service is None:
        raise HTTPException(404, f"not here; there are {sorted(models.services)}")
    user_id = None if asked.user_id is None else grant.own(asked.user_id)
    wish = Wish(request_id=BESIDE, k=asked.k, at=datetime.now(UTC), user_id=user_id)
    progress = Progress(Stopwatch(BESIDE_SECONDS))
    return shown(service, await asyncio.to_thread(service.recommend, wish, progress))


@page.get("/page/pictures/{item_id:path}")
async def picture(item_id: str, gallery: TheGallery) -> Response:
    """A small JPEG of an item: a frame, or its waveform."""
    found = gallery.picture(item_id)
    if found is None:
        raise HTTPException(404, "there is no picture of this item")
    headers = ALONE | {"Cache-Control": "private, max-age=3600"}
    return Response(found, headers=headers, media_type="image/jpeg")


@page.get("/page/media/{item_id:path}")
async def media(item_id: str, request: Request, gallery: TheGallery) -> Response:
    """An item's file, or the range of it that is asked for."""
    medium = gallery.medium(item_id)
    size = None if medium is None else await asyncio.to_thread(medium.place.size_bytes)
    if medium is None or size is None:
        raise HTTPException(404, "there is nothing of this item to play")
    span = span_of(request.headers.get("range", ""), size)
    if span is None:
        raise HTTPException(416, f"the file has {size} bytes")
    return _streamed(medium, span, partial="range" in request.headers)


@page.get("/page/status")
async def status(request: Request, models: TheModels) -> Status:
    """What the service says of itself; counts are of the replica that answers."""
    return status_of(models.active, request.app.state.meters, sorted(models.services))


def span_of(asked: str, size: int) -> Span | None:
    """Read a Range header; one that is not understood asks for all, one beyond the end is None.

    >>> span_of("bytes=2-3", 10), span_of("bytes=-4", 10), span_of("", 10), span_of("bytes=10-", 10)
    (Span(start=2, stop=4, size=10), Span(start=6, stop=10, size=10), \
Span(start=0, stop=10, size=10), None)
    """
    match = RANGE.fullmatch(asked.strip())
    if match is None or not any(match.groups()):
        return Span(0, size, size)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    return Span(start, stop, size) if start < stop else None


def _streamed(medium: Medium, span: Span, *, partial: bool) -> Response:
    headers = ALONE | {"Accept-Ranges": "bytes", "Content-Length": str(span.stop - span.start)}
    headers["Cache-Control"] = "private, max-age=3600"
    if partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{span.size}"
    pieces = medium.pieces(span.start, span.stop)
    kind = medium.content_type
    return StreamingResponse(pieces, 206 if partial else 200, headers=headers, media_type=kind)


def _named(ids: pa.StringArray, grant: Grant, text: str) -> list[str]:
    if grant.tenant:
        ids = ids.filter(pc.starts_with(ids, grant.own("")))
    else:
        ids = ids.filter(pc.invert(pc.match_substring(ids, OF)))
    return ids.filter(pc.match_substring(ids, text, ignore_case=True))[:MAX_PEOPLE].to_pylist()


def _card(item_id: str, row: int, service: Service, gallery: Gallery) -> Card:
    medium = gallery.medium(item_id)
    return Card(
        item_id=item_id,
        title=service.title(row),
        tags=service.bundle.items["tags"][row].as_py() or [],
        kind=medium.kind if medium else None,
        seconds=medium.seconds if medium else None,
        pictured=gallery.pictured(item_id),
    )
