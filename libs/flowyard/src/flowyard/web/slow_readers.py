"""Bounds the bytes that wait for a client that doesn't read, and disconnects it after a deadline."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PIECE: Final = 64 * 1024
"""Bytes that are given to a connection at a time."""
READ_WITHIN_S: Final = 30.0
"""Seconds after which a client is disconnected that hasn't read what its connection buffers."""


class SlowReaderLimit(HttpToolsProtocol):
    """Closes a connection whose client reads nothing for `read_within_s` although bytes wait to be sent."""

    read_within_s: float = READ_WITHIN_S
    _reading: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        # Not `close`, which would first send what nobody reads.
        self._reading = self.loop.call_later(self.read_within_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._end_waiting()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)

    def _end_waiting(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


class PacedResponse(Response):
    """A response that is sent piece by piece, as fast as its client reads: a server would copy all of it at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = memoryview(self.body)
        if len(body) <= PIECE:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(body), PIECE):
            piece = bytes(body[start : start + PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < len(body)})
        if self.background is not None:
            await self.background()
