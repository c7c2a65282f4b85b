"""Limits HTTP connections: their number, the size of a request's head, and the time that a request takes.

All of this comes before the key of a request is known, so it protects from everyone who can reach the port.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import BadHttp, HeadTooLarge, RequestTooSlow
from flowyard.errors.services import TooManyConnections
from flowyard.web.problems import problem_of
from flowyard.web.requests import API_HEADERS
from flowyard.web.slow_readers import SlowReaderLimit

MOST_CONNECTIONS: Final = 2000
MAX_HEAD_BYTES: Final = 64 * 1024
"""Most bytes of a request's address and headers together."""
MAX_HEADERS: Final = 100
# For the databases, the message bus, calls of other services, files, and connections that are about to be closed.
_OTHER_DESCRIPTORS: Final = 96
_LEAST_PROGRESS: Final = 16 * 1024
"""Bytes of a body that must arrive in each `body_s`: otherwise single bytes could keep a connection open forever."""
_LINGER_S: Final = 2.0
"""Seconds for which a refused client's bytes are still read, so that it can read its answer."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`most`: connections at a time; `head_s`: seconds for a request's head; `body_s`: seconds without progress."""

    most: int = MOST_CONNECTIONS
    head_s: float = 10.0
    body_s: float = 30.0

    @property
    def effective_most(self) -> int:
        """Fewer if the process may not open so many descriptors."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.most if descriptors < 0 else max(8, min(self.most, descriptors - _OTHER_DESCRIPTORS))


@dataclass(slots=True)
class _Open:
    """The connections of one server. `idle`: those without a request, in the order in which they became idle."""

    most: int
    all: set[BoundedConnection] = field(default_factory=set)
    idle: dict[BoundedConnection, None] = field(default_factory=dict)

    def make_room(self, newcomer: BoundedConnection) -> None:
        """Closes the connection that is idle for longest if there are too many; else refuses the newcomer.

        Rather one that never sent a request: clients keep others for their next request.
        """
        if len(self.all) <= self.most:
            return
        others = [connection for connection in self.idle if connection is not newcomer]
        closed = next((c for c in others if c.is_unused), others[0] if others else None)
        if closed is not None:
            closed.drop()
        else:
            newcomer.refuse(TooManyConnections(most=self.most))
            newcomer.drop()


def bounded_connections(limits: ConnectionLimits) -> partial[BoundedConnection]:
    """What makes the connections of one server, for uvicorn's `http`."""
    return partial(BoundedConnection, limits=limits, connections_open=_Open(limits.effective_most))


class BoundedConnection(SlowReaderLimit):
    """uvicorn's connection, with limits. Its own timer only closes connections that wait for their next request."""

    def __init__(self, *args: Any, limits: ConnectionLimits, connections_open: _Open, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._open = connections_open
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = False
        self._head_bytes = self._body_bytes = 0
        self._refusal: FlowyardError | None = None

    @property
    def is_unused(self) -> bool:
        return self._request() is None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._open.all.add(self)
        self._open.idle[self] = None
        self._start_timer(self._limits.head_s, self._head_timeout)
        self._open.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._open.all.discard(self)
        self._open.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None or self.transport.is_closing():
            return
        super().data_received(data)
        if self._timer is None and not self._is_busy() and not self.transport.is_closing():
            # Empty lines before a request, for example: uvicorn has just stopped its own timer.
            self._start_timer(self._limits.head_s, self._head_timeout)

    def drop(self) -> None:
        """Closes the connection without an answer: it has no request."""
        self.transport.close()
        # It counts no more, although it is only closed in the loop's next round.
        self._open.all.discard(self)
        self._open.idle.pop(self, None)

    def refuse(self, error: FlowyardError) -> None:
        """Answers with the error, and closes the connection when the client had time to read that."""
        self._refusal = error
        self._stop_timer()
        request = self._request()
        if request is None or request.response_complete or not request.response_started:
            self.transport.write(_answer(error))
        if request is not None and not request.response_complete:
            request.disconnected = True
            request.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(_LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what it can't parse, and to what a callback below has refused."""
        if self._refusal is None:
            self.refuse(BadHttp())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._open.idle.pop(self, None)
        self._in_head, self._head_bytes = True, 0
        if self._timer is None:
            self._start_timer(self._limits.head_s, self._head_timeout)

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refuse_head(f"it has more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._body_bytes = False, True, 0
        self._start_timer(self._limits.body_s, self._body_timeout)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._stop_timer()
        super().on_message_complete()
        self._note_idle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note_idle()

    def _request(self) -> RequestResponseCycle | None:
        """The latest request of the connection; uvicorn's annotation leaves out that there may be none."""
        return self.cycle

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head(f"its address and headers have more than {MAX_HEAD_BYTES} bytes")

    def _refuse_head(self, reason: str) -> None:
        self.refuse(HeadTooLarge(reason))
        # It ends the parser's work on these bytes.
        raise httptools.HttpParserError(reason)

    def _is_busy(self) -> bool:
        """Whether the connection has a request that isn't answered, or not read to its end."""
        request = self._request()
        answered = request is None or request.response_complete
        return self._in_head or self._in_body or not answered or bool(self.pipeline)

    def _note_idle(self) -> None:
        if not self._is_busy() and self in self._open.all:
            self._open.idle[self] = None

    def _head_timeout(self) -> None:
        if self._in_head:
            self.refuse(RequestTooSlow("head", seconds=self._limits.head_s))
        else:
            self.transport.close()

    def _body_timeout(self) -> None:
        # A paused connection isn't slow: the service hasn't taken yet what came.
        is_wanted = not self.cycle.response_complete
        if is_wanted and (self._body_bytes >= _LEAST_PROGRESS or self.flow.read_paused):
            self._body_bytes = 0
            self._start_timer(self._limits.body_s, self._body_timeout)
        else:
            self.refuse(RequestTooSlow("body", seconds=self._limits.body_s))

    def _start_timer(self, delay_s: float, action: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(delay_s, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _answer(error: FlowyardError) -> bytes:
    request_id = secrets.token_hex(16)
    problem = problem_of(error, request_id)
    own = {"x-request-id": request_id, "connection": "close", **API_HEADERS}
    headers = [*problem.raw_headers, *((name.encode(), value.encode()) for name, value in own.items())]
    status = HTTPStatus(error.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", bytes(problem.body)])
