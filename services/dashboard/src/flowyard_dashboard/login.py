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
    key = form.get("key", "").strip()
    caller = await parts.keys.verify(key)
    if caller is not None:
        return await _open_session(parts, request, caller, target)
    problem = "This key isn't valid: it is unknown, misspelled or revoked."
    wait_s = math.ceil(await parts.wrong_keys.add(request.scope, key))
    if not wait_s:
        return parts.pages.page(request, "login", status=401, next=target, problem=problem)
    problem = f"{problem} There were too many: try again in {wait_s} s, or at once with a valid key."
    response = parts.pages.page(request, "login", status=429, next=target, problem=problem)
    response.headers["retry-after"] = str(wait_s)
    return response


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
