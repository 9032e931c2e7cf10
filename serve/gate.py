"""Requests refused before their route: without the key, too large, not JSON; and the form of errors.

Limits hold for every route; a route of OpenAI's API answers errors in the shape of its clients.
"""

import hmac
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pydantic_core
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.chat_completions import error_body

MAX_BODY_BYTES = 1 << 20
KEY, ADMIN_KEY = "REJOINDER_API_KEY", "REJOINDER_ADMIN_KEY"
WITHOUT_KEY = ("/", "/review", "/health", "/ready")
# Routes below are OpenAI's, and those that need the other key.
CHAT_ROUTES, ADMIN_ROUTES = "/v1/", "/admin"


class Gate:
    """ASGI middleware. Without REJOINDER_API_KEY in the environment, only `/admin` needs a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401, 403 or 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        request = Request(scope)
        refused = _without_key(request) or _too_large(request)
        if refused is not None:
            await refused(scope, receive, send)
            return

        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self._app(scope, counted, send)


class StrictJson(APIRoute):
    """Bodies by pydantic's parser, which refuses deep nesting where Python's runs out of stack."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with the stricter parser."""
        handle = super().get_route_handler()

        async def parsed(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return parsed


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return pydantic_core.from_json(await self.body())
        except ValueError as error:
            raise HTTPException(400, f"body: expected JSON, {error}") from error


def route_of(request: Request) -> str:
    """The path below the application's `route_prefix`."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")) or "/"


async def validation_error(request: Request, error: Exception) -> JSONResponse:
    """Return status 422 and one line that names the first wrong field."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # An unknown field's name is the client's: of any length, and of several lines.
    where = " ".join(".".join(str(part) for part in first["loc"][1:]).split())[:_MAX_WHERE] or "body"
    return _error(request, 422, f"{where}: {first['msg'].removeprefix('Value error, ')}", where)


async def http_error(request: Request, error: Exception) -> JSONResponse:
    """Return the error as one line, in the shape that the route's clients read."""
    assert isinstance(error, HTTPException)
    headers = error.headers
    if error.status_code == 405:
        headers = {"Allow": ", ".join(sorted(_methods_at(request)))}
    return _error(request, error.status_code, str(error.detail), headers=headers)


def _methods_at(request: Request) -> set[str]:
    """The methods of all routes at the request's path: Starlette names those of the first one only."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] != Match.NONE:
            methods |= route.methods
    return methods


def _error(
    request: Request,
    status: int,
    line: str,
    where: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    chat = route_of(request).startswith(CHAT_ROUTES)
    return JSONResponse(error_body(line, status, where) if chat else {"detail": line}, status, headers)


_MAX_WHERE = 100
_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes"


def _too_large(request: Request) -> JSONResponse | None:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) <= MAX_BODY_BYTES:
        return None
    return _error(request, 413, _TOO_LARGE)


def _without_key(request: Request) -> JSONResponse | None:
    path = route_of(request)
    name = ADMIN_KEY if path.startswith(ADMIN_ROUTES) else KEY
    # A blank key, as of a secret that is not filled in, would let everybody in who sends none.
    expected = os.environ.get(name, "").strip() or None
    if expected is None and name == ADMIN_KEY:
        return _error(request, 403, f"{ADMIN_KEY} is not set: the index cannot be changed")
    if expected is None or path in WITHOUT_KEY:
        return None

    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    # In constant time: the duration must not tell how much of the key is right. Headers are read as Latin-1.
    if scheme.lower() == "bearer" and hmac.compare_digest(key.encode("latin-1"), expected.encode()):
        return None
    line = "expected a key: Authorization: Bearer KEY"
    return _error(request, 401, line, headers={"WWW-Authenticate": "Bearer"})
