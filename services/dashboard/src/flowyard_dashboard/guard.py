"""Who may come in. Every route needs a session unless it is listed here; who writes must come from our pages."""

from __future__ import annotations

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
from flowyard_dashboard import assets, failures
from flowyard_dashboard.pages import caller_of
from flowyard_dashboard.parts import DashboardParts

COOKIE: Final = "flowyard_session"
LOGIN: Final = "/login"
_OPEN: Final = frozenset({LOGIN, "/health/live", "/health/ready"})
_BY_KEY: Final = frozenset({"/metrics", "/openapi.json"})
"""For machines: an API key will do."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


class ForeignOrigin(FlowyardError):
    """A request that would change something, and that no page of ours has sent."""

    code = "foreign_origin"
    status = 403
    title = "This didn't come from our pages"

    def __init__(self) -> None:
        super().__init__(
            "a request that changes something must come from a page of this dashboard; nothing was changed"
        )


class Guard:
    """ASGI middleware. Behind it `caller_of(request)` is who is logged in."""

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
            refusal = failures.page_of(self._parts.pages, request, error)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """None: come in."""
        if request.method not in _READS and not is_from_us(request.headers):
            raise ForeignOrigin
        path = request.scope["path"]
        if path in _OPEN or path.startswith(assets.PREFIX):
            return None
        caller = await self._caller(request)
        if caller is None:
            return Response(status_code=401) if _comes_with_key(request) else _to_login(request)
        request.state.caller = caller
        return None

    async def _caller(self, request: Request) -> Caller | None:
        if _comes_with_key(request):
            return await self._parts.keys.verify(request.headers["authorization"].partition(" ")[2].strip())
        token = request.cookies.get(COOKIE)
        return await self._parts.sessions.find(token) if token else None


def _comes_with_key(request: Request) -> bool:
    scheme = request.headers.get("authorization", "").partition(" ")[0]
    return request.scope["path"] in _BY_KEY and scheme.lower() == "bearer"


def may_run_here(request: Request) -> bool:
    """Whether who is logged in may make and change runs."""
    caller = caller_of(request)
    return caller is not None and caller.may("run")


def may_run(request: Request) -> None:
    """Raises Forbidden unless `may_run_here`."""
    caller = caller_of(request)
    if not may_run_here(request):
        raise Forbidden(scope="run", key_name=caller.name if caller else "none")


def is_from_us(headers: Headers) -> bool:
    """Whether a page of ours made the request. Browsers tell it by headers that no page can forge."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def own_path(asked: str) -> str:
    """Where to go after the login: never to another site."""
    return asked if _OWN_PATH.fullmatch(asked) else "/"


def _to_login(request: Request) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    where = f"{LOGIN}?next={quote(path, safe='/')}" if request.method == "GET" and path != "/" else LOGIN
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"hx-redirect": LOGIN})
    if request.headers.get("accept") == "text/event-stream":
        # What it belongs to says "not live"; the next click leads to the login.
        return Response(status_code=401)
    return RedirectResponse(where, 303)
