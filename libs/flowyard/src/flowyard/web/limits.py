"""Limits the size of request bodies."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowyard.errors.requests import TooLarge
from flowyard.web.problems import problem_of


class BodyLimit:
    """ASGI middleware: a body of more than `limit` bytes is refused with 413."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared_length(scope) > self._limit:
            problem = problem_of(self._too_large(), scope["state"]["request_id"])
            await problem(scope, receive, send)
            return
        await self._app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge("the request's body", limit=self._limit)


def _declared_length(scope: Scope) -> int:
    """The Content-Length; 0 if there is none: then the bytes are counted as they are received."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else 0
