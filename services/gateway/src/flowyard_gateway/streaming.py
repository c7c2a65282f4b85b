"""A run's events as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Final

from flowyard.api.history import TokenView
from flowyard.bus.messages import RunTokens
from flowyard.control.live import Heard
from flowyard.runs.run import Run
from flowyard.web.sse import ServerEvent
from flowyard_gateway.answers import as_json
from flowyard_gateway.parts import Parts

_CHECKED_S: Final = 0.5
"""Between two looks at the key that a stream was opened with."""


async def stream_events(parts: Parts, run: Run, *, after: int, key: str) -> AsyncGenerator[ServerEvent, None]:
    """What happened after event `after`, then what happens, up to the run's end, or that of the caller's `key`."""
    checked_at = monotonic()
    with parts.live.listen(run.id, after=min(after, run.last_seq)) as ear:
        ear.wake()
        async with aclosing(parts.live.follow(ear, tokens=run.is_open)) as heard:
            async for one in heard:
                if monotonic() - checked_at > _CHECKED_S:
                    if await parts.callers.verify(key) is None:
                        return
                    checked_at = monotonic()
                yield _server_event(one)


def _server_event(heard: Heard) -> ServerEvent:
    if isinstance(heard, RunTokens):
        # No id: tokens aren't kept, so nobody can resume at one.
        return ServerEvent(as_json({name: getattr(heard, name) for name in TokenView.model_fields}), "token")
    told = {"seq": heard.seq, "at": heard.at, "type": heard.type, "data": heard.data}
    return ServerEvent(as_json(told), heard.type, str(heard.seq))
