"""Server-sent events. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowyard.telemetry.metrics import HttpMetrics

_LINE_END: Final = re.compile("\r\n|\r|\n")
_NO_LINE: Final = re.compile("[\r\n\0]")
_HEARTBEAT: Final = b": still here\n\n"
HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """`id` comes back as `Last-Event-ID` when the client connects again; None: the event isn't a place to resume."""

    data: str
    event: str | None = None
    id: str | None = None

    def encode(self) -> bytes:
        lines = [f"{name}: {_one_line(value)}\n" for name, value in (("id", self.id), ("event", self.event)) if value]
        data = _LINE_END.split(self.data)
        return "".join([*lines, *(f"data: {line}\n" for line in data), "\n"]).encode(errors="replace")


class EventStream(Response):
    """An answer that goes on: until the events end, the client goes away, or the service shuts down.

    Nothing is buffered here: a slow client slows `events` down, which is closed in any case. A comment every
    `heartbeat_s` keeps the connection open. Set `response_class=EventStream` on the route, so that OpenAPI knows.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[ServerEvent, None],
        *,
        shutting_down: asyncio.Event,
        metrics: HttpMetrics,
        heartbeat_s: float = HEARTBEAT_S,
        status_code: int = 200,
    ) -> None:
        self.status_code = status_code
        self.background = None
        self.init_headers({"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"})
        self._events = events
        self._shutting_down = shutting_down
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _send(send, f"retry: {RETRY_MS}\n\n".encode())
            with self._metrics.streams_open.track_inprogress():
                await self._until_one_ends(send, receive)
        await send({"type": "http.response.body", "body": b""})

    async def _until_one_ends(self, send: Send, receive: Receive) -> None:
        ends = [asyncio.create_task(end) for end in (self._write(send), self._beat(send), _disconnected(receive))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            results = await asyncio.gather(*ends, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _write(self, send: Send) -> None:
        async for event in self._events:
            await _send(send, event.encode())

    async def _beat(self, send: Send) -> None:
        """Heartbeats until the service shuts down. A comment goes out as a whole, so it never cuts an event in two."""
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._shutting_down.wait()
            except TimeoutError:
                await _send(send, _HEARTBEAT)
            else:
                return


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _one_line(value: str) -> str:
    if _NO_LINE.search(value):
        raise ValueError("an event's id and name are a single line")
    return value
