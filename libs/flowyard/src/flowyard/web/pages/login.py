"""Logs in with an API key, and logs out."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from flowyard.access import Actor, Caller
from flowyard.errors.requests import ExpiredKey
from flowyard.web.pages.entrance import COOKIE, Entrance, read_form_body
from flowyard.web.pages.session_guard import keep_own, local_path
from flowyard.web.pages.site import Site
from flowyard.web.wrong_keys import client_of


def login_routes(site: Site, entrance: Entrance) -> APIRouter:
    """`site`: that of the entrance."""
    router = APIRouter(include_in_schema=False, dependencies=keep_own("nothing"))

    @router.get(site.login)
    async def login_page(request: Request, target: Annotated[str, Query(alias="next")] = site.home) -> Response:
        return _page(entrance, request, local_path(target, site.home))

    @router.post(site.login)
    async def log_in(request: Request) -> Response:
        return await _log_in(entrance, request)

    @router.post(site.logout)
    async def log_out(request: Request) -> Response:
        await entrance.sessions.close(request.cookies.get(COOKIE, ""))
        response = RedirectResponse(site.login, 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    return router


async def _log_in(entrance: Entrance, request: Request) -> Response:
    form = await read_form_body(request, most_bytes=entrance.form_limit)
    target = local_path(form.get("next", entrance.site.home), entrance.site.home)
    key = form.get("key", "").strip()
    try:
        caller = await entrance.keys.verify(key)
    except ExpiredKey as error:
        return _page(entrance, request, target, status=401, problem=f"{error.message}.")
    if caller is not None:
        return await _open_session(entrance, request, caller, target)
    problem = "This key isn't valid: it is unknown, misspelled, revoked, or was replaced."
    wait_s = math.ceil(await entrance.wrong_keys.add(request.scope, key))
    if not wait_s:
        return _page(entrance, request, target, status=401, problem=problem)
    problem = f"{problem} There were too many: try again in {wait_s} s, or at once with a valid key."
    response = _page(entrance, request, target, status=429, problem=problem)
    response.headers["retry-after"] = str(wait_s)
    return response


def _page(
    entrance: Entrance, request: Request, target: str, *, status: int = 200, problem: str | None = None
) -> Response:
    return entrance.pages.page(
        request, "login", status=status, action=entrance.site.login, next=target, problem=problem
    )


async def _open_session(entrance: Entrance, request: Request, caller: Caller, target: str) -> Response:
    by = Actor(caller.key_id, caller.name, client_of(request.scope, entrance.trusted))
    token = await entrance.sessions.open(caller, entrance.session_s, by=by)
    response = RedirectResponse(target, 303)
    # A proxy that terminates TLS sends this header. A client that forges it only harms its own cookie.
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    age_s = int(entrance.session_s)
    response.set_cookie(COOKIE, token, max_age=age_s, httponly=True, samesite="strict", secure=secure)
    return response
