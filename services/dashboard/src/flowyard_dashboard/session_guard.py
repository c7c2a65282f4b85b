"""Checks access: every route needs a session, except those listed here; changes must come from our own pages."""

from __future__ import annotations

import math
import re
from typing import Final
from urllib.parse import quote, urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowyard.access import Caller
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Forbidden
from flowyard.web.auth import METRICS_PATH
from flowyard_dashboard import assets, error_pages
from flowyard_dashboard.pages import caller_of
from flowyard_dashboard.parts import DashboardParts

COOKIE: Final = "flowyard_session"
LOGIN: Final = "/login"
_PUBLIC: Final = frozenset({LOGIN, "/health/live", "/health/ready"})
_WITH_KEY: Final = frozenset({METRICS_PATH, "/openapi.json"})
"""Paths for machines, which may send an API key instead."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


class ForeignOrigin(
    FlowyardError, code="foreign_origin", status=403, title="The request didn't come from the dashboard"
):
    """A request that would change something didn't come from a page of the dashboard."""

    def __init__(self) -> None:
        super().__init__("a request that changes something must come from a page of the dashboard; nothing was changed")


class SessionGuard:
    """ASGI middleware. Behind it, `caller_of(request)` returns the user who is logged in."""

    def __init__(self, app: ASGIApp, *, parts: DashboardParts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            refusal = await self._refusal(request)
        except FlowyardError as error:
            refusal = error_pages.error_page(self._parts.pages, request, error)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """The response that refuses the request; None if access is granted."""
        if request.method not in _SAFE_METHODS and not is_same_origin(request.headers):
            raise ForeignOrigin
        path = request.scope["path"]
        if path in _PUBLIC or path.startswith(assets.PREFIX):
            return None
        caller = await self._caller(request)
        if caller is None:
            return await self._wrong_key(request) if _has_key(request) else _to_login(request)
        request.state.caller = caller
        return None

    async def _wrong_key(self, request: Request) -> Response:
        wait_s = math.ceil(await self._parts.wrong_keys.add(request.scope, _key_of(request)))
        return Response(status_code=429, headers={"retry-after": str(wait_s)}) if wait_s else Response(status_code=401)

    async def _caller(self, request: Request) -> Caller | None:
        if _has_key(request):
            is_scrape = request.scope["path"] == METRICS_PATH
            verify = self._parts.scrapers.verify_scraper if is_scrape else self._parts.keys.verify
            return await verify(_key_of(request))
        token = request.cookies.get(COOKIE)
        return await self._parts.sessions.find(token) if token else None


def _has_key(request: Request) -> bool:
    scheme = request.headers.get("authorization", "").partition(" ")[0]
    return request.scope["path"] in _WITH_KEY and scheme.lower() == "bearer"


def _key_of(request: Request) -> str:
    return request.headers["authorization"].partition(" ")[2].strip()


def can_run(request: Request) -> bool:
    """Whether the user may start and change runs."""
    caller = caller_of(request)
    return caller is not None and caller.may("run")


def require_run(request: Request) -> None:
    """Raises Forbidden unless `can_run`."""
    caller = caller_of(request)
    if not can_run(request):
        raise Forbidden(scope="run", key_name=caller.name if caller else "none")


def is_same_origin(headers: Headers) -> bool:
    """Whether a page of the dashboard sent the request: browsers set these headers, and pages can't forge them."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def local_path(path: str) -> str:
    """The page to show after the login: the given path, or "/" if it could lead to another site."""
    return path if _LOCAL_PATH.fullmatch(path) else "/"


def _to_login(request: Request) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    location = f"{LOGIN}?next={quote(path, safe='/')}" if request.method == "GET" and path != "/" else LOGIN
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"hx-redirect": LOGIN})
    if request.headers.get("accept") == "text/event-stream":
        # The page shows that it isn't live any more; the next click leads to the login.
        return Response(status_code=401)
    return RedirectResponse(location, 303)
