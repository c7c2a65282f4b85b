"""Checks access: every page needs a session, except those listed here; changes must come from our own pages."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowyard.access import Caller
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Forbidden
from flowyard.errors.services import Unavailable
from flowyard.storage.keys import Sessions
from flowyard.web.auth import METRICS_PATH, Reach, check_installation, keep_to_workflows
from flowyard.web.pages.entrance import COOKIE, Entrance
from flowyard.web.pages.error_pages import error_page
from flowyard.web.pages.headers import with_headers
from flowyard.web.pages.templating import caller_of
from flowyard.web.wrong_keys import client_of

_HEALTH: Final = frozenset({"/health/live", "/health/ready"})
_WITH_KEY: Final = frozenset({METRICS_PATH, "/openapi.json"})
"""Paths for machines, which may send an API key instead."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
_SESSION_CHECKED_S: Final = 0.5


class ForeignOrigin(
    FlowyardError, code="foreign_origin", status=403, title="The request didn't come from a page of Flowyard"
):
    """A request that would change something didn't come from a page of this service."""

    def __init__(self) -> None:
        super().__init__("a request that changes something must come from a page of this service; nothing was changed")


class SessionGuard:
    """ASGI middleware for the paths of a site. Behind it, `caller_of(request)` returns the user who is logged in."""

    def __init__(self, app: ASGIApp, *, entrance: Entrance) -> None:
        self._app = app
        self._entrance = entrance
        self._public = _HEALTH | {entrance.site.login}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._entrance.site.covers(scope["path"]):
            await self._app(scope, receive, send)
            return
        request, send = Request(scope, receive), with_headers(send)
        try:
            refusal = await self._refusal(request)
        except FlowyardError as error:
            refusal = error_page(self._entrance.pages, request, error)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """The response that refuses the request; None if access is granted."""
        if request.method not in _SAFE_METHODS and not is_same_origin(request.headers):
            raise ForeignOrigin
        path = request.scope["path"]
        if path in self._public or path.startswith(self._entrance.site.assets):
            return None
        caller = await self._caller(request)
        if caller is None:
            return await self._wrong_key(request) if self._has_key(request) else self._to_login(request)
        request.state.caller = caller
        request.state.address = client_of(request.scope, self._entrance.trusted)
        if caller.rate is not None and self._entrance.take_request is not None:
            await self._entrance.take_request(caller)
        return None

    async def _wrong_key(self, request: Request) -> Response:
        wait_s = math.ceil(await self._entrance.wrong_keys.add(request.scope, _key_of(request)))
        return Response(status_code=429, headers={"retry-after": str(wait_s)}) if wait_s else Response(status_code=401)

    async def _caller(self, request: Request) -> Caller | None:
        scrapers = self._entrance.scrapers
        if scrapers is not None and self._has_key(request):
            is_scrape = request.scope["path"] == METRICS_PATH
            verify = scrapers.verify_scraper if is_scrape else self._entrance.keys.verify
            caller = await verify(_key_of(request))
            if is_scrape and caller is not None:
                check_installation(caller)
            return caller
        token = request.cookies.get(COOKIE)
        return await self._entrance.sessions.find(token) if token else None

    def _has_key(self, request: Request) -> bool:
        scheme = request.headers.get("authorization", "").partition(" ")[0]
        takes_keys = self._entrance.scrapers is not None and request.scope["path"] in _WITH_KEY
        return takes_keys and scheme.lower() == "bearer"

    def _to_login(self, request: Request) -> Response:
        login = self._entrance.site.login
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        is_elsewhere = request.method == "GET" and path != self._entrance.site.home
        if "hx-request" in request.headers:
            # htmx says which page has sent it.
            page = urlsplit(request.headers.get("hx-current-url", "")).path
            target = f"{login}?next={quote(local_path(page, self._entrance.site.home), safe='/')}"
            return Response(status_code=401, headers={"hx-redirect": target})
        if request.headers.get("accept") == "text/event-stream":
            # The page shows that it isn't live any more; the next click leads to the login.
            return Response(status_code=401)
        return RedirectResponse(f"{login}?next={quote(path, safe='/')}" if is_elsewhere else login, 303)


def _key_of(request: Request) -> str:
    return request.headers["authorization"].partition(" ")[2].strip()


def keep_own(reach: Reach = "installation") -> list[Any]:
    """The `dependencies=` of a router or of a route: a key with a list of workflows gets only to their pages and to
    those of their runs, and to other pages as `reach` says.
    """

    async def check(request: Request) -> None:
        caller = caller_of(request)
        if caller is not None and caller.workflows is not None:
            await keep_to_workflows(request, caller, caller.workflows, reach)

    return [Depends(check)]


def workflows_of(request: Request) -> frozenset[str] | None:
    """The only workflows that the user may see; None: all."""
    caller = caller_of(request)
    return caller.workflows if caller is not None else None


def can_run(request: Request) -> bool:
    """Whether the user may start and change runs."""
    caller = caller_of(request)
    return caller is not None and caller.may("run")


def require_run(request: Request) -> None:
    """Raises Forbidden unless `can_run`."""
    caller = caller_of(request)
    if not can_run(request):
        raise Forbidden(scope="run", key_name=caller.name if caller else "none")


def require_write(request: Request) -> None:
    """Raises Forbidden unless the user may change workflows."""
    caller = caller_of(request)
    if caller is None or not caller.may("write"):
        raise Forbidden(scope="write", key_name=caller.name if caller else "none")


def is_same_origin(headers: Headers) -> bool:
    """Whether a page of this service sent the request: browsers set these headers, and pages can't forge them."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def local_path(path: str, otherwise: str = "/") -> str:
    """The page to show after the login: the given path, or `otherwise` if it could lead to another site."""
    return path if _LOCAL_PATH.fullmatch(path) else otherwise


class LastingSession:
    """Checks at intervals whether the user is still logged in: a stream may be open for days."""

    def __init__(self, sessions: Sessions, request: Request) -> None:
        self._sessions = sessions
        self._token = request.cookies.get(COOKIE, "")
        self._clock = asyncio.get_running_loop().time
        self._next = self._clock() + _SESSION_CHECKED_S

    async def is_over(self) -> bool:
        if self._clock() < self._next:
            return False
        self._next = self._clock() + _SESSION_CHECKED_S
        try:
            return await self._sessions.find(self._token) is None
        except Unavailable:
            return False
