"""`Authorization: Bearer fy_<id>_<secret>` → the Caller, or 401, or 403."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from flowyard.access import Caller, Scope
from flowyard.errors.requests import Forbidden, Unauthorized

Verify: TypeAlias = Callable[[str], Awaitable[Caller | None]]
"""The text of a key → its caller; None if it isn't valid."""

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="api_key",
    bearerFormat="fy_<id>_<secret>",
    description="An API key. Scopes: `read`; `run`, which includes `read`; `admin`, which includes both.",
)


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: `caller: Annotated[Caller, Depends(require("run"))]`. The application was made with `verify`.

    Document it by `responses=problem_responses(Unauthorized, Forbidden, …)`.
    """

    async def caller(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Caller:
        if given is None:
            raise Unauthorized(given=False)
        verify: Verify = request.app.state.verify
        known = await verify(given.credentials)
        if known is None:
            raise Unauthorized(given=True)
        if not known.may(scope):
            raise Forbidden(scope=scope, key_name=known.name)
        return known

    return caller


READ: Final[list[Any]] = [Depends(require("read"))]
"""For a route's `dependencies=`, where the handler doesn't need the caller."""
RUN: Final[list[Any]] = [Depends(require("run"))]
ADMIN: Final[list[Any]] = [Depends(require("admin"))]
