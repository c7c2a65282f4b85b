"""A short way to the route that submits a run, past FastAPI, which takes as long as all the rest of such a request.

Only requests that are right go this way. FastAPI gets all others and says what is wrong with them. The description of
the API is made from its route.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from fastapi import Response
from pydantic import TypeAdapter, ValidationError
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowyard.access import Caller
from flowyard.api.runs import RunRequest
from flowyard.api.workflows import WorkflowName
from flowyard.errors.base import FlowyardError
from flowyard.web.auth import check_workflow
from flowyard.web.problems import for_caller, problem_of
from flowyard.web.strict_json import StrictRequest
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.run_routes import Key, Wait, router, submit

_PATH: Final = re.compile(r"/v1/workflows/([^/]+)/runs")
_ROUTE: Final[BaseRoute] = next(route for route in router.routes if getattr(route, "name", "") == "submit_run")
_HEADERS: Final = (b"content-type", b"idempotency-key")
_NAME: Final = TypeAdapter[str](WorkflowName)
_KEY: Final = TypeAdapter[str | None](Key)
_WAIT: Final = TypeAdapter[float](Wait)


class _Head(NamedTuple):
    """What a request says before its body."""

    name: str
    key: str | None
    wait: float


class QuickSubmit:
    """ASGI middleware, the innermost."""

    def __init__(self, app: ASGIApp, *, parts: GatewayParts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _head(scope)
        if head is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        request = StrictRequest(scope, receive)
        try:
            response = await self._submit(request, head)
        except FlowyardError as error:
            response = problem_of(for_caller(error, scope), scope["state"]["request_id"])
        if response is not None:
            await response(scope, receive, send)
        else:
            await self._app(scope, _again(await request.body(), receive), send)

    async def _submit(self, request: StrictRequest, head: _Head) -> Response | None:
        """None: the body isn't right."""
        try:
            body = RunRequest.model_validate(await request.json())
        except (ValueError, RecursionError):
            return None
        caller: Caller = request.scope["state"]["caller"]
        check_workflow(caller, head.name)
        return await submit(request, self._parts, head.name, body, caller, head.key, head.wait)


def _head(scope: Scope) -> _Head | None:
    """None: it is another request, or one that isn't right, or one with more than a client of ours would send."""
    path = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
    if path is None or not scope["state"]["caller"].may("run"):
        return None
    given = [(name, value) for name, value in scope["headers"] if name in _HEADERS]
    headers = dict(given)
    if len(headers) < len(given) or headers.get(b"content-type") != b"application/json":
        return None
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if [name for name, _ in query] not in ([], ["wait"]):
        return None
    key = headers.get(b"idempotency-key")
    try:
        return _Head(
            _NAME.validate_python(path[1]),
            _KEY.validate_python(key.decode("latin-1")) if key is not None else None,
            _WAIT.validate_python(query[0][1]) if query else 0.0,
        )
    except ValidationError:
        return None


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read already, and then what comes after it."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received
