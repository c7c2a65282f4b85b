"""A run's events as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from flowyard.api.history import TokenView
from flowyard.bus.messages import RunTokens
from flowyard.control.live import Heard
from flowyard.runs.run import Run
from flowyard.web.sse import ServerEvent
from flowyard_gateway.answers import as_json
from flowyard_gateway.parts import Parts


async def stream_events(parts: Parts, run: Run, *, after: int) -> AsyncGenerator[ServerEvent, None]:
    """What happened after event `after`, then what happens, up to the run's end."""
    with parts.live.listen(run.id, after=min(after, run.last_seq)) as ear:
        ear.wake()
        async with aclosing(parts.live.follow(ear, tokens=run.is_open)) as heard:
            async for one in heard:
                yield _server_event(one)


def _server_event(heard: Heard) -> ServerEvent:
    if isinstance(heard, RunTokens):
        # No id: tokens aren't kept, so nobody can resume at one.
        return ServerEvent(as_json({name: getattr(heard, name) for name in TokenView.model_fields}), "token")
    told = {"seq": heard.seq, "at": heard.at, "type": heard.type, "data": heard.data}
    return ServerEvent(as_json(told), heard.type, str(heard.seq))
