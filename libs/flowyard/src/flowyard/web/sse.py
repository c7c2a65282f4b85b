"""Server-sent events. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowyard.telemetry.metrics import HttpMetrics

_LINE_END: Final = re.compile("\r\n|\r|\n")
_NO_LINE: Final = re.compile("[\r\n\0]")
HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Around:
    """What is sent besides events: `opening` at once, `heartbeat` while there is nothing else, a comment.

    `at_shutdown`: the end of a stream whose events haven't ended when the service shuts down; None: nothing.
    """

    opening: bytes = f"retry: {RETRY_MS}\n\n".encode()
    heartbeat: bytes = b": still here\n\n"
    at_shutdown: Callable[[], bytes] | None = None


OURS: Final = Around()


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """`id`: the client sends it as `Last-Event-ID` when it connects again; None: it can't resume after this event."""

    data: str
    event: str | None = None
    id: str | None = None

    def encode(self) -> bytes:
        lines = [f"{name}: {_line(value)}\n" for name, value in (("id", self.id), ("event", self.event)) if value]
        data = _LINE_END.split(self.data)
        return "".join([*lines, *(f"data: {line}\n" for line in data), "\n"]).encode(errors="replace")


class EventStream(Response):
    """A response that lasts until the events end, the client closes the connection, or the service shuts down.

    It buffers nothing: a slow client slows `events` down, and is disconnected as `slow_readers` says. `events`, which
    may be encoded already, is closed at the end. A comment every `heartbeat_s` keeps the connection open.

    `opened`: entered before the stream begins, and left at its end. If it raises a FlowyardError, that is the response.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[ServerEvent | bytes, None],
        *,
        shutting_down: asyncio.Event,
        metrics: HttpMetrics,
        opened: AbstractContextManager[object] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        around: Around = OURS,
    ) -> None:
        self.status_code = status_code
        self.background = None
        self.init_headers({"cache-control": "no-cache, no-transform", "x-accel-buffering": "no", **(headers or {})})
        self._around = around
        self._events = events
        self._shutting_down = shutting_down
        self._metrics = metrics
        self._opened: AbstractContextManager[object] = opened or nullcontext()
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            with self._opened:
                await self._stream(receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._around.opening:
            await _send(send, self._around.opening)
        with self._metrics.streams_open.track_inprogress():
            await self._send_until_end(send, receive)
        await send({"type": "http.response.body", "body": b""})

    async def _send_until_end(self, send: Send, receive: Receive) -> None:
        works = self._send_events(send), self._send_heartbeats(send), _disconnected(receive)
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        sending, heartbeats, _ = tasks
        if self._around.at_shutdown is not None and sending.cancelled() and not heartbeats.cancelled():
            await _send(send, self._around.at_shutdown())

    async def _send_events(self, send: Send) -> None:
        async for event in self._events:
            await _send(send, event if isinstance(event, bytes) else event.encode())

    async def _send_heartbeats(self, send: Send) -> None:
        """Until the service shuts down. A heartbeat is one message, so it is never sent in the middle of an event."""
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._shutting_down.wait()
            except TimeoutError:
                await _send(send, self._around.heartbeat)
            else:
                return


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _line(value: str) -> str:
    if _NO_LINE.search(value):
        raise ValueError("an event's id and name are a single line")
    return value
