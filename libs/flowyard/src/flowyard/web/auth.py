"""`Authorization: Bearer fy_<id>_<secret>` → the Caller, or 401, or 403."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from flowyard.access import Caller, Scope
from flowyard.errors.requests import Forbidden, Unauthorized

Verify: TypeAlias = Callable[[str], Awaitable[Caller | None]]
"""The text of a key → its owner; None if the key isn't valid."""

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="api_key",
    bearerFormat="fy_<id>_<secret>",
    description="An API key. Scopes: `read`; `run`, which includes `read`; `admin`, which includes both.",
)


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: `caller: Annotated[Caller, Depends(require("run"))]`. It needs `make_app(…, verify=…)`.

    Document its errors by `responses=guarded_responses(…)`. Raises Unauthorized, Forbidden.
    """

    async def caller(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Caller:
        if given is None:
            raise Unauthorized(given=False)
        verify: Verify = request.app.state.verify
        owner = await verify(given.credentials)
        if owner is None:
            raise Unauthorized(given=True)
        if not owner.may(scope):
            raise Forbidden(scope=scope, key_name=owner.name)
        return owner

    return caller


READ: Final[list[Any]] = [Depends(require("read"))]
"""For a route's `dependencies=`, if its handler doesn't need the caller."""
RUN: Final[list[Any]] = [Depends(require("run"))]
ADMIN: Final[list[Any]] = [Depends(require("admin"))]
