"""The stream that updates a run's page: changes of the run, and the replies of models while they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from html import escape
from typing import Final
from uuid import UUID

from fastapi import Request

from flowyard.bus.messages import RunTokens
from flowyard.control.listener import RunListener
from flowyard.errors.base import FlowyardError
from flowyard.errors.services import Unavailable
from flowyard.runs.events import StepId
from flowyard.tasks import cancel
from flowyard.web.pages.session_guard import LastingSession, can_run
from flowyard.web.sse import ServerEvent
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.run_details import RunDetails, read_details
from flowyard_dashboard.run_view import element_key, view_of
from flowyard_dashboard.streaming import ENDED, UPDATE, first_change
from flowyard_dashboard.view import View, difference

_PAUSE_S: Final = 0.1
"""The shortest pause between two updates. A page that takes long to render has longer pauses."""
_MAX_WAIT_S: Final = 5.0
_MAX_TEXT_LENGTH: Final = 50_000
"""Characters of one update. A slow reader misses the rest of the reply, and sees it in the step's outputs."""
NO_TEXTS: Final = '<div id="texts" aria-live="off"></div>'


async def follow_run(
    parts: DashboardParts, request: Request, run_id: UUID, *, seen: str
) -> AsyncGenerator[ServerEvent, None]:
    """Yields updates until the run's end. `seen`: the digest of the view that the page shows."""
    session = LastingSession(parts.entrance.sessions, request)
    clock = asyncio.get_running_loop().time
    with parts.live.listen(run_id, after=0) as listener, suppress(FlowyardError):
        details = await read_details(parts, run_id)
        listener.last_seq = details.run.last_seq
        listener.read_again()
        view = await asyncio.to_thread(view_of, parts.pages, details, can_run=can_run(request))
        texts = LiveReplies()
        yield ServerEvent(first_change(view, seen) + texts.clear(), UPDATE)
        async with _pending_updates(parts, listener, is_open=details.run.is_open) as updates:
            while not (updates.is_over and updates.is_empty) and not await session.is_over():
                await updates.wait()
                started = clock()
                tokens, has_events = updates.take()
                update = texts.append(tokens)
                if has_events:
                    details, current = await _refreshed(parts, request, details, view)
                    update += difference(view, current) + texts.remove_finished(details)
                    view = current
                if update:
                    yield ServerEvent(update, UPDATE)
                await asyncio.sleep(max(_PAUSE_S, 3 * (clock() - started)))
    if not parts.shutting_down.is_set():
        yield ServerEvent("", ENDED)


async def _refreshed(
    parts: DashboardParts, request: Request, previous: RunDetails, view: View
) -> tuple[RunDetails, View]:
    """The current details and view; `previous` and `view` if Postgres is unavailable. Raises UnknownRun."""
    try:
        details = await read_details(parts, previous.run.id, previous)
    except Unavailable:
        return previous, view
    return details, await asyncio.to_thread(view_of, parts.pages, details, can_run=can_run(request))


class PendingUpdates:
    """What was received since the last update: tokens, and whether there were events."""

    def __init__(self) -> None:
        self.is_over = False
        self._tokens: list[RunTokens] = []
        self._length = 0
        self._has_events = False
        self._bell = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self._tokens and not self._has_events

    async def listen(self, parts: DashboardParts, listener: RunListener, *, tokens: bool) -> None:
        async with aclosing(parts.live.follow(listener, tokens=tokens)) as messages:
            async for message in messages:
                if not isinstance(message, RunTokens):
                    self._has_events = True
                elif self._length < _MAX_TEXT_LENGTH:
                    self._tokens.append(message)
                    self._length += len(message.text)
                self._bell.set()
        self.is_over = True
        self._bell.set()

    async def wait(self) -> None:
        """Waits for something to take, for at most `_MAX_WAIT_S` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._bell.wait()
        if not self.is_over:
            self._bell.clear()

    def take(self) -> tuple[list[RunTokens], bool]:
        result = self._tokens, self._has_events
        self._tokens, self._length, self._has_events = [], 0, False
        return result


@asynccontextmanager
async def _pending_updates(
    parts: DashboardParts, listener: RunListener, *, is_open: bool
) -> AsyncIterator[PendingUpdates]:
    updates = PendingUpdates()
    if not is_open:
        updates.is_over = True
        yield updates
        return
    collecting = asyncio.create_task(updates.listen(parts, listener, tokens=True))
    try:
        yield updates
    finally:
        await cancel([collecting])


class LiveReplies:
    """The replies that models are writing: a block for each running step."""

    def __init__(self) -> None:
        self._open: dict[StepId, tuple[int, int]] = {}

    def clear(self) -> str:
        return NO_TEXTS.replace(" ", ' hx-swap-oob="true" ', 1)

    def append(self, tokens: list[RunTokens]) -> str:
        texts: dict[StepId, str] = {}
        update = ""
        for token in tokens:
            step = StepId(token.node, token.visit, token.item)
            call = token.epoch, token.call
            if self._open.get(step) != call:
                # The step's first tokens, or those of another call.
                update += self._remove(step) + _block(step)
                self._open[step] = call
                texts.pop(step, None)
            texts[step] = texts.get(step, "") + token.text
        return update + "".join(_appended_text(step, text) for step, text in texts.items())

    def remove_finished(self, details: RunDetails) -> str:
        """Removes the texts of steps that have ended: their outputs are shown instead."""
        ended = {step.id for step in details.steps if step.status not in ("running", "waiting")}
        return "".join(self._remove(step) for step in [step for step in self._open if step in ended])

    def _remove(self, step: StepId) -> str:
        if self._open.pop(step, None) is None:
            return ""
        return f'<div id="text-{escape(element_key(step))}" hx-swap-oob="delete"></div>'


def _block(step: StepId) -> str:
    key = escape(element_key(step))
    return (
        f'<div hx-swap-oob="beforeend:#texts"><figure id="text-{key}" class="text">'
        f'<figcaption>{escape(str(step))}</figcaption><pre id="text-{key}-pre"></pre></figure></div>'
    )


def _appended_text(step: StepId, text: str) -> str:
    return f'<span hx-swap-oob="beforeend:#text-{escape(element_key(step))}-pre">{escape(text)}</span>'
