"""The short way to the routes that nearly all requests are for: no matching, no dependencies.

They are the application's own routes, called with the same things. What is not plainly right (the
media type, the body) goes the long way, which says what is wrong with it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = b"application/json"
Answering = Callable[[Request, Any], Awaitable[Response]]
Excusing = Callable[[Request, Exception], Awaitable[Response]]


class Route(NamedTuple):
    """What is posted at a path, and what answers it."""

    path: str
    body: type[BaseModel]
    answer: Answering


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Answers some routes, and passes on what is for others.

    `excuses` answer where a route raises one of these.
    """

    app: ASGIApp
    routes: Mapping[str, Route]
    excuses: Mapping[type[Exception], Excusing]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request."""
        route = self.routes.get(scope.get("path", ""))
        if route is None or scope.get("method") != "POST" or not _is_json(scope):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            messages = await _received(receive)
            body = b"".join(message.get("body", b"") for message in messages)
            asked = route.body.model_validate_json(body)
            scope["route"] = route
            response = await route.answer(request, asked)
        except ValidationError:
            await self.app(scope, _again(messages, receive), send)
            return
        except tuple(self.excuses) as error:
            excuse = next(one for kind, one in self.excuses.items() if isinstance(error, kind))
            response = await excuse(request, error)
        await response(scope, receive, send)


def _is_json(scope: Scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return len(kinds) == 1 and kinds[0].partition(b";")[0] == JSON


async def _received(receive: Receive) -> Sequence[Message]:
    """Take in a whole body, or what came until the client went."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _again(messages: Sequence[Message], receive: Receive) -> Receive:
    """Give what was received already, then what comes."""
    waiting = list(messages)

    async def again() -> Message:
        return waiting.pop(0) if waiting else await receive()

    return again
