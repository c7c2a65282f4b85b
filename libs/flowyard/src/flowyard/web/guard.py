"""Nobody without a key gets further than health: not to a route, and not to the reading of a body."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Forbidden, Unauthorized
from flowyard.web.auth import Verify
from flowyard.web.problems import problem_of

OPEN: Final = frozenset({"/health/live", "/health/ready"})
_API: Final = "/v1/"
"""Below it, each route says which scope it needs; what is elsewhere may be read by who may read."""


class Guard:
    """ASGI middleware: every path that isn't OPEN needs a valid key."""

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
        caller = await self._verify(key.strip())
        if caller is None:
            raise Unauthorized(given=True)
        if not scope["path"].startswith(_API) and not caller.may("read"):
            raise Forbidden(scope="read", key_name=caller.name)
