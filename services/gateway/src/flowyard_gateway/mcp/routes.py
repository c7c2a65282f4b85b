"""`/mcp`: requests of MCP's Streamable HTTP transport."""

from __future__ import annotations

import json
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Message, Receive, Scope, Send

from flowyard.access import Caller
from flowyard.errors.requests import InvalidRequest
from flowyard.web.auth import require
from flowyard.web.problems import guarded_responses
from flowyard.web.strict_json import StrictRequest
from flowyard_gateway.parts import GatewayParts, InjectedParts

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600

_JSON: Final = "application/json"
_MESSAGE: Final = {
    "type": "object",
    "description": "A message of JSON-RPC 2.0.",
    "properties": {"jsonrpc": {"const": "2.0"}},
    "required": ["jsonrpc"],
}
_ANSWERS: Final = {_JSON: {"schema": _MESSAGE}, "text/event-stream": {"schema": {"type": "string"}}}

router = APIRouter(tags=["mcp"])


@router.post(
    "/mcp",
    name="mcp",
    summary="Talk MCP",
    description=(
        "Streamable HTTP of the Model Context Protocol, 2026-07-28 and those from 2024-11-05 on, without sessions."
        " Workflows with an mcp trigger are tools; documents and runs are resources. Calls need the scope `run`."
    ),
    openapi_extra={"requestBody": {"required": True, "content": {_JSON: {"schema": _MESSAGE}}}},
    response_class=Response,
    responses={
        **guarded_responses(),
        200: {"description": "The answer, alone or after notifications", "content": _ANSWERS},
        202: {"description": "A notification, which needs no answer"},
        400: {"description": "No message, or none that is right", "content": {_JSON: {"schema": _MESSAGE}}},
        404: {"description": "An unknown method", "content": {_JSON: {"schema": _MESSAGE}}},
        406: {"description": "`Accept` must have `application/json` and `text/event-stream`"},
    },
)
async def mcp(
    http: Request, parts: InjectedParts, _: Annotated[Caller, Depends(require("read", reach="own"))]
) -> Response:
    origin = http.headers.get("origin")
    if origin is not None and not _is_known(parts, origin):
        return _refused(403, _INVALID_REQUEST, "web pages of this origin may not use MCP: see FLOWYARD_CORS_ORIGINS")
    request = StrictRequest(http.scope, http.receive)
    try:
        await request.json()
    except InvalidRequest as error:
        return _refused(400, _PARSE_ERROR, error.message)
    except (ValueError, RecursionError):
        return _refused(400, _PARSE_ERROR, "the body isn't JSON")
    return _OfDoor(parts, await request.body())


def _is_known(parts: GatewayParts, origin: str) -> bool:
    try:
        return origin in parts.settings.cors_origins or urlsplit(origin).hostname in _LOOPBACK
    except ValueError:
        return False


def _refused(status: int, code: int, message: str) -> Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return Response(json.dumps(body), status, media_type=_JSON)


class _OfDoor(Response):
    """The response that the MCP server sends. `body`: of the request, which was read already."""

    def __init__(self, parts: GatewayParts, body: bytes) -> None:
        super().__init__()
        self._parts = parts
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bodies: list[Message] = [{"type": "http.request", "body": self._body, "more_body": False}]

        async def received() -> Message:
            return bodies.pop() if bodies else await receive()

        await self._parts.mcp.handle(self._parts, scope, received, send)
