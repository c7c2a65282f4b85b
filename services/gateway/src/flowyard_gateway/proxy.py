"""Forwards the registry's routes, so that a client needs only the gateway's address.

The routes are in `registry.json`, a copy of the registry's OpenAPI that a test keeps up to date: so the gateway can
document them while the registry is down.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes

import httpx
from fastapi import APIRouter, Depends, Request, Response

from flowyard.errors.services import Unavailable
from flowyard.web.auth import require
from flowyard.web.problems import request_id_of
from flowyard_gateway.parts import InjectedParts

log = logging.getLogger(__name__)

REGISTRY_API: Final = Path(__file__).parent / "registry.json"
_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_FORWARDED: Final = frozenset({"accept", "authorization", "content-type", "if-match", "if-none-match", "user-agent"})
"""Headers of a request that are forwarded."""
_RETURNED: Final = frozenset({"content-type", "etag", "location", "retry-after", "www-authenticate"})

_DOTS: Final = {".": "%2E", "..": "%2E%2E"}
_QUERY_CHARACTERS: Final = "%=&+;:/?@!$'()*,~-._"


def registry_api() -> dict[str, Any]:
    """The paths and the schemas of the registry's OpenAPI."""
    api: dict[str, Any] = json.loads(REGISTRY_API.read_text(encoding="utf-8"))
    return api


def proxy_routes(api: Mapping[str, Any]) -> APIRouter:
    """A route for each route of the registry, which checks scopes and workflows. Here any valid key is enough."""
    router = APIRouter(dependencies=[Depends(require("read", reach="own"))], include_in_schema=False)
    for path, operations in api["paths"].items():
        for method in operations.keys() & _METHODS:
            router.add_api_route(path, forward, methods=[method.upper()], name=operations[method]["operationId"])
    return router


async def forward(parts: InjectedParts, request: Request) -> Response:
    """The registry's answer to the same request. Raises Unavailable."""
    body = await request.body()
    own = {"x-request-id": request_id_of(request), "x-forwarded-for": request.scope["state"]["address"]}
    headers = _only(_FORWARDED, request.headers.items()) | own
    try:
        answer = await parts.registry.request(request.method, _target(request), headers=headers, content=body)
    except httpx.HTTPError as error:
        log.warning("can't reach the registry", extra={"reason": type(error).__name__})
        raise Unavailable("the registry") from error
    return Response(answer.content, answer.status_code, _only(_RETURNED, answer.headers.items()))


def _target(request: Request) -> str:
    """The path, which has matched a route, encoded again: a name `..` in it must not lead to another path."""
    path = "/".join(_DOTS.get(part, quote(part, safe="")) for part in request.scope["path"].split("/"))
    query = quote_from_bytes(request.scope["query_string"], safe=_QUERY_CHARACTERS)
    return f"{path}?{query}" if query else path


def _only(names: frozenset[str], headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers if name.lower() in names}
