"""Log in with an API key, and out again."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from flowyard.access import Caller
from flowyard_dashboard.forms import read
from flowyard_dashboard.guard import COOKIE, LOGIN, own_path
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.routing import InjectedParts

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
async def login_page(parts: InjectedParts, request: Request, to: Annotated[str, Query(alias="next")] = "/") -> Response:
    return parts.pages.page(request, "login", next=own_path(to), problem=None)


@router.post(LOGIN)
async def log_in(parts: InjectedParts, request: Request) -> Response:
    form = await read(parts, request)
    to = own_path(form.get("next", "/"))
    return await _log_in(parts, request, form.get("key", "").strip(), to)


@router.post("/logout")
async def log_out(parts: InjectedParts, request: Request) -> Response:
    await parts.sessions.close(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse(LOGIN, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def _log_in(parts: DashboardParts, request: Request, key: str, to: str) -> Response:
    address = request.client.host if request.client else ""
    wait_s = math.ceil(parts.attempts.wait_s(address))
    if wait_s:
        problem = f"Too many attempts: try again in {wait_s} s."
        answer = parts.pages.page(request, "login", status=429, next=to, problem=problem)
        answer.headers["retry-after"] = str(wait_s)
        return answer
    # Counted before it is known, so that many at once are counted too.
    parts.attempts.failed(address)
    caller = await parts.keys.verify(key)
    if caller is None:
        problem = "This key isn't valid: it is unknown, misspelled or revoked."
        return parts.pages.page(request, "login", status=401, next=to, problem=problem)
    parts.attempts.succeeded(address)
    return await _opened(parts, request, caller, to)


async def _opened(parts: DashboardParts, request: Request, caller: Caller, to: str) -> Response:
    ttl_s = parts.settings.session_hours * 3600
    token = await parts.sessions.open(caller.key_id, ttl_s)
    answer = RedirectResponse(to, 303)
    # A proxy that ends TLS says so. One who lies about it only loses their own cookie.
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    answer.set_cookie(COOKIE, token, max_age=int(ttl_s), httponly=True, samesite="strict", secure=secure)
    return answer
