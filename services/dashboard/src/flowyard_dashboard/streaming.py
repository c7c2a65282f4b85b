"""The streams that update pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeAlias

from fastapi import Request

from flowyard.errors.base import FlowyardError
from flowyard.errors.services import Unavailable
from flowyard.web.pages.session_guard import LastingSession
from flowyard.web.pages.templating import caller_of
from flowyard.web.sse import EventStream, ServerEvent
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.view import View, difference, full_update

MakeView: TypeAlias = Callable[[], Awaitable[View]]

UPDATE: Final = "update"
ENDED: Final = "end"
"""The event after which the stream ends."""
_LIST_PAUSE_S: Final = 0.3
"""The shortest pause between two updates of a list."""


def stream(parts: DashboardParts, request: Request, events: AsyncGenerator[ServerEvent, None]) -> EventStream:
    """Raises TooManyStreams before it begins."""
    caller = caller_of(request)
    opened = parts.streams.opened(caller.key_id if caller is not None else "")
    return EventStream(events, shutting_down=parts.shutting_down, metrics=parts.metrics.http, opened=opened)


async def follow_list(
    parts: DashboardParts, request: Request, make_view: MakeView, *, seen: str
) -> AsyncGenerator[ServerEvent, None]:
    """Yields the changes of a list until the session ends. `seen`: the digest of the view that the page shows."""
    session = LastingSession(parts.entrance.sessions, request)
    previous: View | None = None
    with parts.run_changes.bell() as bell:
        while not await session.is_over():
            try:
                current = await make_view()
            except Unavailable:
                await bell.wait()
                continue
            except FlowyardError:
                return  # the workflow of the list was deleted
            update = first_change(current, seen) if previous is None else difference(previous, current)
            previous = current
            if update:
                yield ServerEvent(update, UPDATE)
            await asyncio.sleep(_LIST_PAUSE_S)
            await bell.wait()


def first_change(current: View, seen: str) -> str:
    """The first update of a page whose view has the digest `seen`; empty if that view is current."""
    return "" if current.digest == seen else full_update(current)
