"""Errors in the form of another API, on the paths that have its format: whoever raises them needn't know."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowyard.web.problems import MEDIA_TYPE

_REPLACED: Final = (b"content-type", b"content-length")


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """`covers`: whether a path is one of those. `convert`: a problem → its status there, and its body."""

    covers: Callable[[str], bool]
    convert: Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]


class OtherErrors:
    """ASGI middleware, outside of all others: it converts the problems that they answer, too."""

    def __init__(self, app: ASGIApp, *, form: ErrorForm) -> None:
        self._app = app
        self._form = form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._form.covers(scope["path"]):
            send = _Converted(send, self._form).send
        await self._app(scope, receive, send)


class _Converted:
    """One response: a problem is kept until it is whole, anything else passes."""

    def __init__(self, send: Send, form: ErrorForm) -> None:
        self._send = send
        self._form = form
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and (b"content-type", MEDIA_TYPE.encode()) in message["headers"]:
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_converted(self._start)

    async def _send_converted(self, start: Message) -> None:
        status, data = self._form.convert(json.loads(self._body))
        # ASCII: a caller's text may contain half a surrogate pair, which UTF-8 can't encode.
        body = json.dumps(data).encode()
        kept = [(name, value) for name, value in start["headers"] if name.lower() not in _REPLACED]
        headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._send({**start, "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
