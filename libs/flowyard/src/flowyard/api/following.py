"""Follows a run: its events as they are made. A lost connection is opened again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, TypeAlias
from uuid import UUID

import httpx
from httpx_sse import EventSource, connect_sse

from flowyard.api.history import EventView, TokenView
from flowyard.api.refusals import TEMPORARY, Unintelligible, refusal, unreachable
from flowyard.api.transport import Transport
from flowyard.errors.base import FlowyardError
from flowyard.runs.entries import ENDINGS

StreamItem: TypeAlias = EventView | TokenView

GIVE_UP_S: Final = 60.0
_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
# Three heartbeats, which come while nothing else does.
_READ_TIMEOUT_S: Final = 45.0


def follow_run(
    transport: Transport,
    run_id: UUID,
    *,
    after: int = 0,
    tokens: bool = True,
    give_up_s: float = GIVE_UP_S,
    on_break: Callable[[FlowyardError], None] = lambda _: None,
) -> Iterator[StreamItem]:
    """The events after event `after`, then new ones, each once, until the run ends.

    With `tokens`, pieces of replies come between the events: of each reply first the text so far, then the rest.
    `on_break` is called when the connection is lost. Raises Unreachable after `give_up_s` seconds without a connection.
    """
    backoff, ended = _Backoff(give_up_s, on_break), False
    while True:
        try:
            with _connected(transport, run_id, after, tokens=tokens) as source:
                if source.response.status_code == httpx.codes.NO_CONTENT:
                    return
                _check(transport, source.response)
                backoff.connected()
                for item in _items(transport, source):
                    backoff.received()
                    if isinstance(item, EventView):
                        after, ended = item.seq, item.type in ENDINGS
                    yield item
            if ended:
                return
            backoff.wait(None)
        except httpx.TransportError as error:
            backoff.wait(unreachable(transport.url, error))
        except FlowyardError as error:
            if error.status not in TEMPORARY or isinstance(error, Unintelligible):
                raise
            backoff.wait(error)


class _Backoff:
    """How long to wait before the next connection, and when to give up."""

    def __init__(self, give_up_s: float, on_break: Callable[[FlowyardError], None]) -> None:
        self._give_up_s = give_up_s
        self._on_break = on_break
        self._pause = _PAUSE_S
        self._until: float | None = None

    def connected(self) -> None:
        self._until = None

    def received(self) -> None:
        self._pause = _PAUSE_S

    def wait(self, error: FlowyardError | None) -> None:
        """`error`: None if the server has ended the stream, as it does when it shuts down."""
        if error is not None:
            if self._until is None:
                self._until = time.monotonic() + self._give_up_s
                self._on_break(error)
            if time.monotonic() + self._pause > self._until:
                raise error
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)


def _connected(transport: Transport, run_id: UUID, after: int, *, tokens: bool) -> AbstractContextManager[EventSource]:
    return connect_sse(
        transport.http,
        "GET",
        f"/v1/runs/{run_id}/events",
        params={} if tokens else {"tokens": "false"},
        headers={"last-event-id": str(after)},
        timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=5),
    )


def _check(transport: Transport, response: httpx.Response) -> None:
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if not response.is_success or not is_stream:
        response.read()
        raise refusal(transport.url, response)


def _items(transport: Transport, source: EventSource) -> Iterator[StreamItem]:
    for sent in source.iter_sse():
        if sent.event == "token":
            yield transport.decode(TokenView, sent.data)
        elif sent.data:
            yield transport.decode(EventView, sent.data)
