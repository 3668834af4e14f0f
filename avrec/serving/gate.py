"""What every request passes before a route sees it: counting, key, rate, size of the body.

Plain ASGI, because it must act before a body is read and before anything is parsed.
"""

import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avrec.serving import page
from avrec.serving.auth import ADMIN, EVENTS, READ, Grant, Keys
from avrec.serving.meters import Meters
from avrec.serving.page import session
from avrec.serving.rates import Rates

OPEN = (
    *("/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json"),
    *page.OPEN,
)
"""Paths without a key: health, the documentation and the page, which hold no one's data."""
DOCS_FILES = "/docs-files"
"""Below this lie scripts and styles of the documentation page, so that it needs no network."""
POSTS = {
    "/v1/recommendations": READ,
    "/v1/rank": READ,
    "/v1/events": EVENTS,
    **dict.fromkeys(page.POSTS, READ),
}
"""Scope of what is posted there; whatever else is not read only needs ADMIN."""
USERS = "/v1/users/"
"""Below this lies what is a tenant's own; the rest that needs ADMIN is the house's alone."""


def fault(
    status: int, kind: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Say an error in the one shape that errors have here."""
    content = {"error": {"kind": kind, "message": message}}
    return JSONResponse(content, status_code=status, headers=headers)


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a request in that brings a right key, not too often, and a body that is not too large.

    What the key allows is found by the routes as `request.state.grant`, and the name of the request
    in answers, logs and the served lists as `request.state.request_id`.
    """

    app: ASGIApp
    keys: Keys
    meters: Meters
    rates: Rates
    max_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        status = 500  # what is answered, further out, where no answer begins here
        request_id = scope.setdefault("state", {})["request_id"] = secrets.token_hex(12)

        async def noted(message: Message) -> None:
            nonlocal status
            if "status" in message:
                status = message["status"]
                named = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), named]}
            await send(message)

        try:
            await (self._refusal(scope) or self.app)(scope, self._limited(receive), noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.meters.requests.labels(route, str(status)).inc()

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = dict(reversed(scope["headers"]))
        if scope["path"] not in OPEN and not scope["path"].startswith(f"{DOCS_FILES}/"):
            grant = self._grant(headers, scope)
            if grant is None:
                text = "send a right key as 'Authorization: Bearer KEY'"
                return fault(401, "unauthorized", text, {"WWW-Authenticate": "Bearer"})
            scope["state"]["grant"] = grant
            refusal = self._too_often(grant) or _forbidden(grant, scope)
            if refusal is not None:
                return refusal
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:19]) > self.max_body_bytes:
            return fault(413, "too_large", self._too_large())
        return None

    def _grant(self, headers: Mapping[bytes, bytes], scope: Scope) -> Grant | None:
        """What the key that a request brings allows, or else the session of the page."""
        if key := _key(headers):
            return self.keys.grant(key)
        return session.granted(self.keys, Headers(scope=scope), scope["method"], time.time())

    def _too_often(self, grant: Grant) -> JSONResponse | None:
        wait = self.rates.wait_seconds(grant.key_id, grant.per_second, time.monotonic())
        if not wait:
            return None
        headers = {"Retry-After": str(math.ceil(wait))}
        return fault(429, "too_often", f"this key may come again in {wait:.3g} s", headers)

    def _limited(self, receive: Receive) -> Receive:
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return limited

    def _too_large(self) -> str:
        return f"a body may have at most {self.max_body_bytes} bytes"


def _forbidden(grant: Grant, scope: Scope) -> JSONResponse | None:
    path, method = scope["path"], scope["method"]
    needed = READ if method in ("GET", "HEAD") else ADMIN
    if method == "POST":
        needed = POSTS.get(path, ADMIN)
    if needed not in grant.scopes:
        return fault(403, "forbidden", f"this key lacks the scope {needed!r}")
    if needed == ADMIN and grant.tenant and not path.startswith(USERS):
        return fault(403, "forbidden", "this is no tenant's own")
    return None


def _key(headers: Mapping[bytes, bytes]) -> str:
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1")
