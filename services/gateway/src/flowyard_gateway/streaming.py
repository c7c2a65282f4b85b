"""A run's events as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Final

from flowyard.api.history import TokenView
from flowyard.bus.messages import RunTokens
from flowyard.runs.run import Run
from flowyard.web.sse import ServerEvent
from flowyard_gateway.answers import as_json
from flowyard_gateway.parts import GatewayParts

_CHECK_EVERY_S: Final = 0.5
"""How often a stream checks the key that it was opened with."""


async def stream_events(
    parts: GatewayParts, run: Run, *, after: int, tokens: bool, key: str
) -> AsyncGenerator[ServerEvent | bytes, None]:
    """The events after `after`, then new ones, until the run ends or the caller's `key` isn't valid any more."""
    checked_at = monotonic()
    with parts.live.listen(run.id, after=min(after, run.last_seq)) as listener:
        listener.read_again()
        async with aclosing(parts.live.follow(listener, tokens=tokens and run.is_open)) as items:
            async for item in items:
                if monotonic() - checked_at > _CHECK_EVERY_S:
                    if not await parts.callers.is_valid(key):
                        return
                    checked_at = monotonic()
                yield _token(item) if isinstance(item, RunTokens) else parts.encoder.encode(run.id, item)


def _token(token: RunTokens) -> ServerEvent:
    # No id: tokens aren't stored, so a client can't resume after one.
    return ServerEvent(as_json({name: getattr(token, name) for name in TokenView.model_fields}).decode(), "token")
