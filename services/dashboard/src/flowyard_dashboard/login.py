"""Logs in with an API key, and logs out."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from flowyard.access import Caller
from flowyard_dashboard.parts import DashboardParts, InjectedParts, read_form_body
from flowyard_dashboard.session_guard import COOKIE, LOGIN, local_path

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
async def login_page(
    parts: InjectedParts, request: Request, target: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    return parts.pages.page(request, "login", next=local_path(target), problem=None)


@router.post(LOGIN)
async def log_in(parts: InjectedParts, request: Request) -> Response:
    form = await read_form_body(parts, request)
    target = local_path(form.get("next", "/"))
    address = request.client.host if request.client else ""
    wait_s = math.ceil(parts.attempts.wait_s(address))
    if wait_s:
        problem = f"Too many attempts: try again in {wait_s} s."
        response = parts.pages.page(request, "login", status=429, next=target, problem=problem)
        response.headers["retry-after"] = str(wait_s)
        return response
    # Counted before the key is verified, so that parallel attempts are counted, too.
    parts.attempts.add_failure(address)
    caller = await parts.keys.verify(form.get("key", "").strip())
    if caller is None:
        problem = "This key isn't valid: it is unknown, misspelled or revoked."
        return parts.pages.page(request, "login", status=401, next=target, problem=problem)
    parts.attempts.reset(address)
    return await _open_session(parts, request, caller, target)


@router.post("/logout")
async def log_out(parts: InjectedParts, request: Request) -> Response:
    await parts.sessions.close(request.cookies.get(COOKIE, ""))
    response = RedirectResponse(LOGIN, 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


async def _open_session(parts: DashboardParts, request: Request, caller: Caller, target: str) -> Response:
    ttl_s = parts.settings.session_hours * 3600
    token = await parts.sessions.open(caller.key_id, ttl_s)
    response = RedirectResponse(target, 303)
    # A proxy that terminates TLS sends this header. A client that forges it only harms its own cookie.
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response.set_cookie(COOKIE, token, max_age=int(ttl_s), httponly=True, samesite="strict", secure=secure)
    return response
