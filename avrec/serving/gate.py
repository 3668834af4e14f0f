"""What every request passes before a route sees it: counting, the key, the size of the body.

Plain ASGI, because it must act before a body is read and before anything is parsed.
"""

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avrec.serving.auth import EVENTS, READ, Keys
from avrec.serving.meters import Meters

OPEN = ("/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json")
"""Paths without a key: health, and the documentation, which holds no one's data."""
DOCS_FILES = "/docs-files"
"""Below this lie scripts and styles of the documentation page, so that it needs no network."""
SCOPE_OF = {"/v1/events": EVENTS}
"""Scope that a path needs where it is not READ."""


def fault(status: int, kind: str, message: str) -> JSONResponse:
    """Say an error in the one shape that errors have here."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None  # noqa: PLR2004
    content = {"error": {"kind": kind, "message": message}}
    return JSONResponse(content, status_code=status, headers=headers)


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a request in that brings a right key and a body of at most `max_body_bytes`."""

    app: ASGIApp
    keys: Keys
    meters: Meters
    max_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        status = 500  # what is answered, further out, where no answer begins here

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await (self._refusal(scope) or self.app)(scope, self._limited(receive), noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.meters.requests.labels(route, str(status)).inc()

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN and not scope["path"].startswith(f"{DOCS_FILES}/"):
            allowed = self.keys.scopes(_key(headers))
            if not allowed:
                return fault(401, "unauthorized", "send a right key as 'Authorization: Bearer KEY'")
            needed = SCOPE_OF.get(scope["path"], READ)
            if needed not in allowed:
                return fault(403, "forbidden", f"this key lacks the scope {needed!r}")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:19]) > self.max_body_bytes:
            return fault(413, "too_large", self._too_large())
        return None

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


def _key(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
