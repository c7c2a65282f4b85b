"""Checks the API key of a request before its route is looked up and its body is read."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Unauthorized
from flowyard.web.auth import Verify
from flowyard.web.problems import problem_of

OPEN: Final = frozenset({"/health/live", "/health/ready"})


class Guard:
    """ASGI middleware: every path that isn't OPEN needs a valid key. Routes may `require` a scope in addition."""

    def __init__(self, app: ASGIApp, *, verify: Verify) -> None:
        self._app = app
        self._verify = verify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                await self._check(scope)
            except FlowyardError as error:
                await problem_of(error, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(given=False)
        if await self._verify(key.strip()) is None:
            raise Unauthorized(given=True)
