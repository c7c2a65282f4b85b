"""Requests to the registry for somebody on the page: with their session, so with the rights of their key."""

from __future__ import annotations

import logging
from typing import Any, Final

import httpx
from fastapi import Request

from flowyard.api.refusals import refusal
from flowyard.errors.services import Unavailable
from flowyard.web.auth import OF_SESSION
from flowyard.web.pages.entrance import COOKIE
from flowyard.web.problems import request_id_of
from flowyard_gateway.parts import GatewayParts

log = logging.getLogger(__name__)

_TIMEOUT: Final = httpx.Timeout(30, connect=2)
"""Tests of a draft take up to five seconds, and others may wait for theirs before it."""


async def ask_registry(
    parts: GatewayParts, request: Request, method: str, path: str, *, content: bytes | None = None, json: Any = None
) -> httpx.Response:
    """The answer, which is no error. The registry writes the act down for the same key and address as ours would be.

    Raises Unavailable; Refused and InvalidDocument, with the registry's words.
    """
    headers = {
        "authorization": f"{OF_SESSION} {request.cookies[COOKIE]}",
        "x-request-id": request_id_of(request),
        "x-forwarded-for": request.scope["state"]["address"],
    }
    try:
        answer = await parts.registry.request(
            method, path, headers=headers, content=content, json=json, timeout=_TIMEOUT
        )
    except httpx.HTTPError as error:
        log.warning("can't reach the registry", extra={"reason": type(error).__name__})
        raise Unavailable("the registry") from error
    if answer.is_error:
        raise refusal(str(answer.url), answer)
    return answer
