"""`Authorization: Bearer fy_<id>_<secret>` → the Caller, or 401, or 403: of every request, and of a route's scope.

Between services also `Authorization: Session <token>`, for what somebody does on a page: with the rights of their key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from flowyard.access import INCLUDES, Actor, Caller, Scope
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Forbidden, NotForKey, TooManyWrongKeys, Unauthorized, UnknownRun
from flowyard.web.problems import problem_of
from flowyard.web.wrong_keys import Networks, WrongKeys, client_of

Verify: TypeAlias = Callable[[str], Awaitable[Caller | None]]
"""The text of a key → its owner; None if the key isn't valid. May raise ExpiredKey."""
TakeRequest: TypeAlias = Callable[[Caller], Awaitable[None]]
"""Counts a request of this caller. Raises TooManyRequests."""
WorkflowOf: TypeAlias = Callable[[UUID], Awaitable[str | None]]
"""The workflow of a run; None if there is no such run."""
Reach: TypeAlias = Literal["installation", "own", "nothing"]
"""What a route that has no workflow and no run in its path is about. `installation`: keys with a list of workflows are
refused. `own`: its handler keeps to the workflows of the key. `nothing`: neither workflows nor runs."""

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})
METRICS_PATH: Final = "/metrics"
OF_SESSION: Final = "Session"
"""The scheme by which a service forwards what somebody does on one of its pages. Browsers never send it."""


def _described(scope: Scope) -> str:
    others = " and ".join(f"`{other}`" for other in INCLUDES if other in INCLUDES[scope] - {scope})
    return f"`{scope}`, which includes {others}" if others else f"`{scope}`"


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="api_key",
    bearerFormat="fy_<id>_<secret>",
    description=f"An API key. Scopes: {'; '.join(map(_described, INCLUDES))}.",
)


def require(scope: Scope, *, reach: Reach = "installation") -> Callable[..., Awaitable[Caller]]:
    """A dependency: `caller: Annotated[Caller, Depends(require("run"))]`. It needs `make_app(…, verify=…)`.

    A key with a list of workflows gets only to routes with one of them in their paths, as `{name}` or `{workflow}`, or
    with one of their runs, as `{run_id}`; to other routes as `reach` says. Document its errors by
    `responses=guarded_responses(…)`. Raises Forbidden, NotForKey, UnknownRun.
    """

    # The documentation is made from the second parameter. The key was verified by Guard.
    async def caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Caller:
        owner: Caller = request.scope["state"]["caller"]
        if not owner.may(scope):
            raise Forbidden(scope=scope, key_name=owner.name)
        if owner.workflows is not None:
            await keep_to_workflows(request, owner, owner.workflows, reach)
        return owner

    return caller


def actor_of(request: Request) -> Actor:
    """Who sends the request, for the audit log."""
    caller: Caller = request.scope["state"]["caller"]
    return Actor(caller.key_id, caller.name, request.scope["state"]["address"])


Acting: TypeAlias = Annotated[Actor, Depends(actor_of)]
"""An argument of a handler. Its route also has to `require` a scope."""


async def keep_to_workflows(request: Request, caller: Caller, workflows: Collection[str], reach: Reach) -> None:
    """Raises NotForKey for another workflow than these, whether it exists or not; UnknownRun for another's run, as for
    one that doesn't exist.
    """
    path = request.path_params
    # In the path of a trigger, `name` is its own.
    name, run_id = path.get("workflow", path.get("name")), path.get("run_id")
    if name is not None:
        check_workflow(caller, name)
    elif run_id is not None:
        with suppress(ValueError):  # no id at all: the route itself says so
            if await request.app.state.workflow_of(UUID(str(run_id))) not in workflows:
                raise UnknownRun(str(run_id))
    elif reach == "installation":
        check_installation(caller)


def check_workflow(caller: Caller, name: str | None) -> None:
    """Raises NotForKey if the caller's key isn't for the workflow. None: for none in particular, which is right."""
    if name is not None and caller.workflows is not None and name not in caller.workflows:
        raise NotForKey(key_name=caller.name, workflows=caller.workflows, workflow=name)


def check_list(caller: Caller, workflow: str | None) -> None:
    """For a list that can be of one workflow or of all. Raises NotForKey unless the caller's key is for what it has."""
    if workflow is None:
        check_installation(caller)
    check_workflow(caller, workflow)


READ: Final[list[Any]] = [Depends(require("read"))]
"""A route's `dependencies=`, if its handler doesn't need the caller."""
READ_ANY: Final[list[Any]] = [Depends(require("read", reach="nothing"))]
"""As READ, for what is about neither workflows nor runs."""
RUN: Final[list[Any]] = [Depends(require("run"))]
WRITE: Final[list[Any]] = [Depends(require("write"))]
ADMIN: Final[list[Any]] = [Depends(require("admin"))]
OPEN: Final[dict[str, Any]] = {"security": []}
"""The `openapi_extra=` of a route that needs no key."""


class Guard:
    """ASGI middleware: every path that isn't in OPEN_PATHS needs a valid key. Routes may `require` a scope in addition.

    It comes before the route is looked up and the body is read. `verify_scraper`: instead of `verify`, for metrics,
    which are about all workflows. `take_request`: called for each request of a key with a rate.
    `trusted`: who says in X-Forwarded-For where a request came from.
    `is_open`: whether a path needs no key, either. `verify_session`: the token of a session → the owner of its key.
    None: sessions aren't accepted, as by every service that users can reach.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        verify: Verify,
        verify_scraper: Verify,
        wrong_keys: WrongKeys,
        take_request: TakeRequest | None,
        trusted: Networks,
        is_open: Callable[[str], bool] = lambda _: False,
        verify_session: Verify | None = None,
    ) -> None:
        self._app = app
        self._verify = verify
        self._verify_scraper = verify_scraper
        self._wrong_keys = wrong_keys
        self._is_open = is_open
        self._verify_session = verify_session
        self._take_request = take_request
        self._trusted = trusted

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (scope["path"] in OPEN_PATHS or self._is_open(scope["path"])):
            try:
                await self._check(scope)
            except FlowyardError as error:
                await problem_of(error, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: AsgiScope) -> None:
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        is_scrape = scope["path"] == METRICS_PATH
        verify = self._verifier(scheme.lower(), is_scrape=is_scrape)
        if verify is None:
            raise Unauthorized(given=False)
        if (caller := await verify(key.strip())) is None:
            if wait_s := await self._wrong_keys.add(scope, key.strip()):
                raise TooManyWrongKeys(retry_after=wait_s)
            raise Unauthorized(given=True)
        if is_scrape:
            check_installation(caller)
        elif caller.rate is not None and self._take_request is not None:
            await self._take_request(caller)
        scope["state"]["caller"] = caller
        scope["state"]["address"] = client_of(scope, self._trusted)

    def _verifier(self, scheme: str, *, is_scrape: bool) -> Verify | None:
        """None: what has this scheme is no key."""
        if scheme == "bearer":
            return self._verify_scraper if is_scrape else self._verify
        return self._verify_session if scheme == OF_SESSION.lower() and not is_scrape else None


def check_installation(caller: Caller) -> None:
    """Raises NotForKey if the caller's key is only for some workflows."""
    if caller.workflows is not None:
        raise NotForKey(key_name=caller.name, workflows=caller.workflows)
