"""A key for what every service shows openly: the gateway is the one that others can reach."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flowyard.errors import FlowyardError, Forbidden, Unauthorized
from flowyard.web.auth import Verify
from flowyard.web.problems import problem_of

GUARDED: Final = frozenset({"/metrics", "/openapi.json"})


class Guard:
    """ASGI middleware: GUARDED paths need a key that may read."""

    def __init__(self, app: ASGIApp, *, verify: Verify) -> None:
        self._app = app
        self._verify = verify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in GUARDED:
            await self._app(scope, receive, send)
            return
        try:
            await self._check(Headers(scope=scope).get("authorization", ""))
        except FlowyardError as error:
            await problem_of(error, scope["state"]["request_id"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _check(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(given=False)
        caller = await self._verify(key.strip())
        if caller is None:
            raise Unauthorized(given=True)
        if not caller.may("read"):
            raise Forbidden(scope="read", key_name=caller.name)
