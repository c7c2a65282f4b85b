"""`Authorization: Bearer fy_<id>_<secret>` → the Caller, or 401, or 403: of every request, and of a route's scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from flowyard.access import INCLUDES, Caller, Scope
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Forbidden, TooManyWrongKeys, Unauthorized
from flowyard.web.problems import problem_of
from flowyard.web.wrong_keys import WrongKeys

Verify: TypeAlias = Callable[[str], Awaitable[Caller | None]]
"""The text of a key → its owner; None if the key isn't valid."""

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})
METRICS_PATH: Final = "/metrics"


def _described(scope: Scope) -> str:
    others = " and ".join(f"`{other}`" for other in INCLUDES if other in INCLUDES[scope] - {scope})
    return f"`{scope}`, which includes {others}" if others else f"`{scope}`"


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="api_key",
    bearerFormat="fy_<id>_<secret>",
    description=f"An API key. Scopes: {'; '.join(map(_described, INCLUDES))}.",
)


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: `caller: Annotated[Caller, Depends(require("run"))]`. It needs `make_app(…, verify=…)`.

    Document its errors by `responses=guarded_responses(…)`. Raises Forbidden.
    """

    # The documentation is made from the second parameter. The key was verified by Guard.
    async def caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Caller:
        owner: Caller = request.scope["state"]["caller"]
        if not owner.may(scope):
            raise Forbidden(scope=scope, key_name=owner.name)
        return owner

    return caller


READ: Final[list[Any]] = [Depends(require("read"))]
"""A route's `dependencies=`, if its handler doesn't need the caller."""
RUN: Final[list[Any]] = [Depends(require("run"))]
ADMIN: Final[list[Any]] = [Depends(require("admin"))]


class Guard:
    """ASGI middleware: every path that isn't in OPEN_PATHS needs a valid key. Routes may `require` a scope in addition.

    It comes before the route is looked up and the body is read. `verify_scraper`: instead of `verify`, for metrics.
    """

    def __init__(self, app: ASGIApp, *, verify: Verify, verify_scraper: Verify, wrong_keys: WrongKeys) -> None:
        self._app = app
        self._verify = verify
        self._verify_scraper = verify_scraper
        self._wrong_keys = wrong_keys

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                await self._check(scope)
            except FlowyardError as error:
                await problem_of(error, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: AsgiScope) -> None:
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(given=False)
        verify = self._verify_scraper if scope["path"] == METRICS_PATH else self._verify
        if (caller := await verify(key.strip())) is None:
            if wait_s := await self._wrong_keys.add(scope, key.strip()):
                raise TooManyWrongKeys(retry_after=wait_s)
            raise Unauthorized(given=True)
        scope["state"]["caller"] = caller
