"""Gives each request an id and security headers, counts and logs it, and answers even if a handler has a bug."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import Final
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowyard.errors.services import ShuttingDown
from flowyard.telemetry.logs import run_context
from flowyard.telemetry.metrics import HttpMetrics
from flowyard.web.problems import internal_problem, problem_of

logger = logging.getLogger(__name__)

API_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_ID: Final = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READS: Final = frozenset({"GET", "HEAD"})
# Requested by machines every few seconds: counted, but logged only at level debug.
_ROUTINE: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
_SLOW_S: Final = 1.0
"""What takes longer is logged at the default level, even if it is a request as it should be."""
_RUN: Final = re.compile(r"/runs/([0-9A-Fa-f-]{32,36})(?:/|$)")


def leave_to_run(scope: Scope, *, waited_s: float) -> None:
    """The request has made a run, whose end its executor logs: no line of its own, unless it fails or is slow.

    `waited_s`: for how long it has waited because the caller wanted that.
    """
    scope["state"]["waited_s"] = waited_s


class RequestLog:
    """ASGI middleware, the outermost. `headers`: added to each response that doesn't have them."""

    def __init__(
        self, app: ASGIApp, *, metrics: HttpMetrics, headers: Mapping[str, str], shutting_down: asyncio.Event
    ) -> None:
        self._app = app
        self._shutting_down = shutting_down
        self._metrics = metrics
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, [(b"x-request-id", request_id.encode()), *self._headers])
        with run_context(_run_of(scope["path"])):
            await self._answer(scope, receive, answer, request_id)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer, request_id: str) -> None:
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            # The client closed the connection in the middle of its request: no answer is needed.
            pass
        except Exception:
            # The outermost handler: an error here is a bug. The answer contains the id that this line logs.
            logger.exception("request failed", extra=_facts(scope, request_id))
            if not answer.status:
                await internal_problem(request_id)(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not self._shutting_down.is_set():
                raise
            # The grace period is over, and uvicorn doesn't wait for this task: no caller needs the cancellation.
            if not answer.status:
                await problem_of(ShuttingDown(), request_id)(scope, receive, answer.send)
        finally:
            self._count(scope, answer, request_id)

    def _count(self, scope: Scope, answer: _Answer, request_id: str) -> None:
        method, route = _method(scope), _route(scope)
        # No status: the client closed the connection before the answer began.
        self._metrics.requests.labels(method, route, str(answer.status or "none")).inc()
        self._metrics.duration.labels(method, route).observe(answer.delay_s)
        level = _level(scope, answer)
        if logger.isEnabledFor(level):
            result = {"status": answer.status, "duration_s": round(answer.delay_s, 6)}
            logger.log(level, "request answered", extra=_facts(scope, request_id) | result)


class _Answer:
    """Adds headers to an answer. `status`: 0 until it begins; `delay_s`: how long that took."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self._began = perf_counter()
        self._delay_s: float | None = None
        self.status = 0

    @property
    def delay_s(self) -> float:
        return perf_counter() - self._began if self._delay_s is None else self._delay_s

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._delay_s = self.delay_s
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            message = {**message, "headers": own + [header for header in self._headers if header[0] not in names]}
        await self._send(message)


def _level(scope: Scope, answer: _Answer) -> int:
    """Debug for what is as it should be and changes nothing, or is logged elsewhere."""
    if _route(scope) in _ROUTINE:
        return logging.DEBUG
    if answer.status >= 500:
        return logging.WARNING
    waited_s: float | None = scope["state"].get("waited_s")
    is_quiet = scope["method"] in _READS or waited_s is not None
    is_slow = answer.delay_s - (waited_s or 0.0) > _SLOW_S
    return logging.DEBUG if is_quiet and 0 < answer.status < 400 and not is_slow else logging.INFO


def _run_of(path: str) -> UUID | None:
    """The run that a request is about."""
    match = _RUN.search(path)
    try:
        return UUID(match[1]) if match else None
    except ValueError:
        return None


def _request_id(scope: Scope) -> str:
    """The caller's, so that a request has the same id in all services; or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _ID.fullmatch(given) else secrets.token_hex(16)


def _facts(scope: Scope, request_id: str) -> dict[str, object]:
    return {"request_id": request_id, "method": _method(scope), "route": _route(scope)}


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    """The template of the route, never the path, which contains ids."""
    return getattr(scope.get("route"), "path_format", "none")
