"""A run's events as they come, through every break of the connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, TypeAlias
from uuid import UUID

import httpx
from httpx_sse import EventSource, connect_sse

from flowyard.api.history import EventView, TokenView
from flowyard.api.refusals import AWAY, Unintelligible, refusal, unreachable
from flowyard.api.transport import Transport
from flowyard.errors.base import FlowyardError
from flowyard.runs.entries import ENDINGS

LiveItem: TypeAlias = EventView | TokenView

GIVE_UP_S: Final = 60.0
_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
# Three of the heartbeats that come when nothing happens.
_SILENCE_S: Final = 45.0


def follow_run(
    transport: Transport,
    run_id: UUID,
    *,
    after: int = 0,
    give_up_s: float = GIVE_UP_S,
    on_break: Callable[[FlowyardError], None] = lambda _: None,
) -> Iterator[LiveItem]:
    """What happened after event `after`, then what happens, each event once, up to the run's end.

    Pieces of replies come between the events; those that come while there is no connection are lost. `on_break` is
    called when a connection is lost, once until there is another one. Raises Unreachable after `give_up_s` without any.
    """
    patience, ended = _Patience(give_up_s, on_break), False
    while True:
        try:
            with _connected(transport, run_id, after) as source:
                if source.response.status_code == httpx.codes.NO_CONTENT:
                    return
                _check(transport, source.response)
                patience.reached()
                for item in _items(transport, source):
                    patience.reset()
                    if isinstance(item, EventView):
                        after, ended = item.seq, item.type in ENDINGS
                    yield item
            if ended:
                return
            patience.wait(None)
        except httpx.TransportError as error:
            patience.wait(unreachable(transport.url, error))
        except FlowyardError as error:
            if error.status not in AWAY or isinstance(error, Unintelligible):
                raise
            patience.wait(error)


class _Patience:
    """How long to wait before the next try, and when it has been enough."""

    def __init__(self, give_up_s: float, on_break: Callable[[FlowyardError], None]) -> None:
        self._give_up_s = give_up_s
        self._on_break = on_break
        self._pause = _PAUSE_S
        self._until: float | None = None

    def reached(self) -> None:
        self._until = None

    def reset(self) -> None:
        self._pause = _PAUSE_S

    def wait(self, error: FlowyardError | None) -> None:
        """None: the other side has ended the stream, as it does when it shuts down."""
        if error is not None:
            if self._until is None:
                self._until = time.monotonic() + self._give_up_s
                self._on_break(error)
            if time.monotonic() + self._pause > self._until:
                raise error
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)


def _connected(transport: Transport, run_id: UUID, after: int) -> AbstractContextManager[EventSource]:
    return connect_sse(
        transport.http,
        "GET",
        f"/v1/runs/{run_id}/events",
        headers={"last-event-id": str(after)},
        timeout=httpx.Timeout(_SILENCE_S, connect=5),
    )


def _check(transport: Transport, response: httpx.Response) -> None:
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if not response.is_success or not is_stream:
        response.read()
        raise refusal(transport.url, response)


def _items(transport: Transport, source: EventSource) -> Iterator[LiveItem]:
    for event in source.iter_sse():
        if event.event == "token":
            yield transport.read(TokenView, event.data)
        elif event.data:
            yield transport.read(EventView, event.data)
