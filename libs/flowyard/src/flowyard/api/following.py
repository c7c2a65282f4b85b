"""Follows a run: its events as they are made. A lost connection is opened again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, TypeAlias
from uuid import UUID

import httpx
from httpx_sse import EventSource, connect_sse

from flowyard.api.backoff import GIVE_UP_S, StreamBackoff
from flowyard.api.history import EventView, TokenView
from flowyard.api.refusals import TEMPORARY, Unintelligible, refusal, unreachable
from flowyard.api.transport import Transport
from flowyard.errors.base import FlowyardError
from flowyard.runs.entries import ENDINGS

StreamItem: TypeAlias = EventView | TokenView

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
    backoff, ended = StreamBackoff(give_up_s, on_break), False
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
