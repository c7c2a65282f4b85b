"""A run's page, kept up to date: what has changed, and what models say meanwhile."""

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
from flowyard.web.sse import ServerEvent
from flowyard_dashboard.guard import may_run_here
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.picture import Picture, take_picture
from flowyard_dashboard.run_view import id_of, step_key, view_of
from flowyard_dashboard.streaming import END, UPDATE, Session, first_change
from flowyard_dashboard.view import View, difference

_PAUSE_S: Final = 0.1
"""The least between two updates. A page that takes long to make gets longer pauses."""
_QUIET_S: Final = 5.0
_MOST_TEXT: Final = 50_000
"""Characters of one update. What a slow reader misses of a reply is in the step's outputs."""
NO_TEXTS: Final = '<div id="texts" aria-live="off"></div>'


async def follow_run(
    parts: DashboardParts, request: Request, run_id: UUID, *, seen: str
) -> AsyncGenerator[ServerEvent, None]:
    """Up to the run's end. `seen`: the digest of what the page shows."""
    session = Session(parts, request)
    clock = asyncio.get_running_loop().time
    with parts.live.listen(run_id, after=0) as listener, suppress(FlowyardError):
        picture = await take_picture(parts, run_id)
        listener.last_seq = picture.run.last_seq
        listener.read_again()
        view = view_of(parts.pages, picture, may_run=may_run_here(request))
        texts = Texts()
        yield ServerEvent(first_change(view, seen) + texts.cleared(), UPDATE)
        async with _heard(parts, listener, is_open=picture.run.is_open) as heard:
            while not (heard.is_over and heard.is_empty) and not await session.is_over():
                await heard.something()
                began = clock()
                tokens, has_events = heard.take()
                update = texts.added(tokens)
                if has_events:
                    picture, now = await _looked(parts, request, picture, view)
                    update += difference(view, now) + texts.ended(picture)
                    view = now
                if update:
                    yield ServerEvent(update, UPDATE)
                await asyncio.sleep(max(_PAUSE_S, 3 * (clock() - began)))
    if not parts.shutting_down.is_set():
        yield ServerEvent("", END)


async def _looked(parts: DashboardParts, request: Request, before: Picture, view: View) -> tuple[Picture, View]:
    """Raises UnknownRun, if the run was deleted."""
    try:
        picture = await take_picture(parts, before.run.id, before)
    except Unavailable:
        return before, view
    return picture, view_of(parts.pages, picture, may_run=may_run_here(request))


class Heard:
    """What was heard since it was last taken: pieces of text, and whether anything else has happened."""

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
        async with aclosing(parts.live.follow(listener, tokens=tokens)) as all_heard:
            async for one in all_heard:
                if not isinstance(one, RunTokens):
                    self._has_events = True
                elif self._length < _MOST_TEXT:
                    self._tokens.append(one)
                    self._length += len(one.text)
                self._bell.set()
        self.is_over = True
        self._bell.set()

    async def something(self) -> None:
        """Until there is something to take, or for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                await self._bell.wait()
        if not self.is_over:
            self._bell.clear()

    def take(self) -> tuple[list[RunTokens], bool]:
        taken = self._tokens, self._has_events
        self._tokens, self._length, self._has_events = [], 0, False
        return taken


@asynccontextmanager
async def _heard(parts: DashboardParts, listener: RunListener, *, is_open: bool) -> AsyncIterator[Heard]:
    heard = Heard()
    if not is_open:
        heard.is_over = True
        yield heard
        return
    listening = asyncio.create_task(heard.listen(parts, listener, tokens=True))
    try:
        yield heard
    finally:
        listening.cancel()
        await asyncio.wait({listening})


class Texts:
    """The replies of models as they come: one block for each step that is at work."""

    def __init__(self) -> None:
        self._open: dict[StepId, int] = {}

    def cleared(self) -> str:
        return NO_TEXTS.replace(" ", ' hx-swap-oob="true" ', 1)

    def added(self, tokens: list[RunTokens]) -> str:
        texts: dict[StepId, str] = {}
        update = ""
        for token in tokens:
            step = StepId(token.node, token.visit, token.item)
            if self._open.get(step) != token.epoch:
                # Another executor has begun the step anew, or it is the first that we hear of it.
                update += self._closed(step) + _block(step)
                self._open[step] = token.epoch
                texts.pop(step, None)
            texts[step] = texts.get(step, "") + token.text
        return update + "".join(_more(step, text) for step, text in texts.items())

    def ended(self, picture: Picture) -> str:
        """Takes away the texts of steps whose outputs are there."""
        ended = {id_of(step) for step in picture.steps if step.status != "waiting"} - {s.id for s in picture.at_work}
        return "".join(self._closed(step) for step in [step for step in self._open if step in ended])

    def _closed(self, step: StepId) -> str:
        if self._open.pop(step, None) is None:
            return ""
        return f'<div id="text-{escape(step_key(step))}" hx-swap-oob="delete"></div>'


def _block(step: StepId) -> str:
    key = escape(step_key(step))
    return (
        f'<div hx-swap-oob="beforeend:#texts"><figure id="text-{key}" class="text">'
        f'<figcaption>{escape(str(step))}</figcaption><pre id="text-{key}-pre"></pre></figure></div>'
    )


def _more(step: StepId, text: str) -> str:
    return f'<span hx-swap-oob="beforeend:#text-{escape(step_key(step))}-pre">{escape(text)}</span>'
