"""The stream that writes an answer into the page while its run goes on, and the finished turn at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request
from markupsafe import escape

from flowyard.access import Caller
from flowyard.bus.messages import RunTokens
from flowyard.control.listener import RunListener
from flowyard.errors.base import FlowyardError
from flowyard.openai_api.answer_text import AnswerText
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard.runs.run import Entry
from flowyard.tasks import cancel
from flowyard.web.pages.session_guard import LastingSession
from flowyard.web.sse import ServerEvent
from flowyard_gateway.chat.models import ChatModel
from flowyard_gateway.chat_page.growing import GrowingText, Growth
from flowyard_gateway.chat_page.sending import person
from flowyard_gateway.chat_page.view import read_turns, show_turn
from flowyard_gateway.parts import GatewayParts

UPDATE: Final = "update"
END: Final = "end"
_PAUSE_S: Final = 0.05
"""The shortest pause between two updates. Text that takes long to render has longer pauses."""
_MAX_WAIT_S: Final = 1.0


async def follow_turn(
    parts: GatewayParts, request: Request, session: SessionSummary, turn: Turn, model: ChatModel | None
) -> AsyncGenerator[ServerEvent, None]:
    """Yields updates until the run's end, and then the turn as it has ended."""
    lasting = LastingSession(parts.entrance.sessions, request)
    progress, clock = Progress(model), asyncio.get_running_loop().time
    shown = Shown(turn)
    if turn.finished_at is None:
        with parts.live.listen(turn.run_id, after=0) as listener, suppress(FlowyardError):
            listener.read_again()
            async with _following(parts, listener, progress):
                while not progress.is_over:
                    began = clock()
                    if update := await asyncio.to_thread(shown.update, progress):
                        yield ServerEvent(update, UPDATE)
                    await asyncio.sleep(max(_PAUSE_S, 3 * (clock() - began)))
                    await progress.wait()
                    if await lasting.is_over():
                        return
    if parts.shutting_down.is_set():
        return
    yield ServerEvent(await _ended(parts, person(request), session, turn, progress), UPDATE)
    yield ServerEvent("", END)


async def _ended(parts: GatewayParts, caller: Caller, session: SessionSummary, turn: Turn, progress: Progress) -> str:
    """The finished turn, and what else of the page changes with it; nothing if the conversation is gone."""
    try:
        summary = await parts.chats.get(caller.key_id, session.id)
        [last, *_] = await read_turns(parts, caller.key_id, summary, after=turn.number - 1, most=1)
    except (FlowyardError, ValueError):
        return ""
    drafts = progress.writes_workflows
    ended = await asyncio.to_thread(show_turn, last, summary.id, so_far=progress.text, drafts=drafts)
    return parts.entrance.pages.part("finished", ended, summary, caller.may("run"))


@dataclass(slots=True)
class Progress:
    """What is known of a run so far: the text of its answer, and which step is at work.

    `model`: None: the workflow isn't one any more, so that only the end is shown.
    """

    model: ChatModel | None
    work: str = ""
    is_over: bool = False
    tries: int = 0
    """How often the text has begun, also before somebody looked."""
    _try: tuple[int, int] = (-1, -1)
    _text: AnswerText = field(default_factory=AnswerText)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return self._text.sent

    @property
    def writes_workflows(self) -> bool:
        return self.model is not None and self.model.writes_workflows

    @property
    def has_tokens(self) -> bool:
        """Whether the answer is shown while it is written. A draft is: if it is corrected, it begins again."""
        return self.model is not None and (self.model.chat.is_live or self.writes_workflows)

    @property
    def words(self) -> str:
        """What is said of the work below the text."""
        if self.writes_workflows and self.tries > 1 and self.work:
            return f"{self.work}: the version is being corrected (try {self.tries})"
        return self.work

    async def wait(self) -> None:
        """For something new, for at most a few seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._bell.wait()
        self._bell.clear()

    def add(self, item: Entry | RunTokens) -> None:
        match item:
            case RunTokens(node=node):
                if self.model is None or node != self.model.chat.answer:
                    return
                self._add_text(item)
            case Entry(type="step.started"):
                self.work = self._name_of(item.data["node"])
            case Entry(type="step.finished"):
                self.work = ""
            case _:
                return
        self._bell.set()

    def end(self) -> None:
        self.is_over = True
        self._bell.set()

    def _add_text(self, token: RunTokens) -> None:
        this = token.epoch, token.call
        if this > self._try:
            # Unlike a client of the API, the page can take back what it has.
            self._try, self._text, self.tries = this, AnswerText(), max(self.tries + 1, token.call)
        if this == self._try:
            self._text.add(token.text, epoch=token.epoch, call=token.call)

    def _name_of(self, node_id: str) -> str:
        node = self.model.live.workflow.nodes.get(node_id) if self.model is not None else None
        return (node.name or node.id) if node is not None else node_id


class Shown:
    """What the page shows of an answer that isn't finished yet."""

    def __init__(self, turn: Turn) -> None:
        self._run_id = turn.run_id
        self._tries = 0
        self._length = -1
        self._work: str | None = None
        self._growing = GrowingText()

    def update(self, progress: Progress) -> str:
        """HTML for htmx that brings the page from what it shows to what is known; empty if it shows that."""
        changes: list[str] = []
        if progress.tries != self._tries or self._length < 0:
            # The page may have some of it, from an earlier connection.
            self._tries, self._length, self._growing = progress.tries, 0, GrowingText()
            changes.append(f'<div id="whole-{self._run_id}" hx-swap-oob="innerHTML"></div>')
        text = progress.text
        if len(text) != self._length:
            self._length = len(text)
            changes += self._grown(self._growing.grow(text))
        if progress.words != self._work:
            self._work = progress.words
            changes.append(f'<span id="work-{self._run_id}" hx-swap-oob="innerHTML">{escape(progress.words)}</span>')
        return "".join(changes)

    def _grown(self, growth: Growth) -> list[str]:
        whole = f'<div hx-swap-oob="beforeend:#whole-{self._run_id}">{growth.whole}</div>'
        last = f'<div id="last-{self._run_id}" hx-swap-oob="innerHTML">{growth.last}</div>'
        return [whole, last] if growth.whole else [last]


@asynccontextmanager
async def _following(parts: GatewayParts, listener: RunListener, progress: Progress) -> AsyncIterator[None]:
    async def follow() -> None:
        try:
            async with aclosing(parts.live.follow(listener, tokens=progress.has_tokens)) as items:
                async for item in items:
                    progress.add(item)
        finally:
            progress.end()

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        await cancel([following])
