"""Streams that keep pages up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeAlias

from fastapi import Request

from flowyard.errors.base import FlowyardError
from flowyard.errors.services import Unavailable
from flowyard.web.sse import EventStream, ServerEvent
from flowyard_dashboard.guard import COOKIE
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.view import View, difference, everything

Look: TypeAlias = Callable[[], Awaitable[View]]

UPDATE: Final = "update"
END: Final = "end"
"""Tells the page that there is no more to come."""
_LIST_PAUSE_S: Final = 0.3
"""The least between two looks at a list."""
_SESSION_CHECKED_S: Final = 0.5


class Session:
    """Whether who has opened a stream is still logged in, asked now and then: a stream may be open for days."""

    def __init__(self, parts: DashboardParts, request: Request) -> None:
        self._parts = parts
        self._token = request.cookies.get(COOKIE, "")
        self._clock = asyncio.get_running_loop().time
        self._next = self._clock() + _SESSION_CHECKED_S

    async def is_over(self) -> bool:
        if self._clock() < self._next:
            return False
        self._next = self._clock() + _SESSION_CHECKED_S
        try:
            return await self._parts.sessions.find(self._token) is None
        except Unavailable:
            return False


def stream(parts: DashboardParts, events: AsyncGenerator[ServerEvent, None]) -> EventStream:
    return EventStream(events, shutting_down=parts.shutting_down, metrics=parts.metrics.http)


async def follow_list(
    parts: DashboardParts, request: Request, look: Look, *, seen: str
) -> AsyncGenerator[ServerEvent, None]:
    """Changes of a list, until its reader goes. `seen`: the digest of what the page shows."""
    session = Session(parts, request)
    before: View | None = None
    with parts.pulse.bell() as bell:
        while not await session.is_over():
            try:
                now = await look()
            except Unavailable:
                await bell.wait()
                continue
            except FlowyardError:
                return  # what the list was of is gone
            changed = first_change(now, seen) if before is None else difference(before, now)
            before = now
            if changed:
                yield ServerEvent(changed, UPDATE)
            await asyncio.sleep(_LIST_PAUSE_S)
            await bell.wait()


def first_change(now: View, seen: str) -> str:
    return "" if now.digest == seen else everything(now)
