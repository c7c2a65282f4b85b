"""What the page shows of a conversation: its turns, as people read them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from markupsafe import Markup

from flowyard.drafts.blocks import documents_in
from flowyard.openai_api.history import answer_message
from flowyard.openai_api.requests import Message, text_of
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard.runs.run import Spending, Step
from flowyard.storage.rows import CallRow
from flowyard_gateway.chat_page.markdown import render
from flowyard_gateway.parts import GatewayParts

MOST_TURNS: Final = 50
"""Of one page."""
MOST_BYTES: Final = 4_000_000
"""Of the messages of one page."""
_TITLE: Final = 80
_ANNOUNCED: Final = 600
_PARTLY: Final[Mapping[str, str]] = {
    "reply_cut_off": "The answer was cut off: the model has reached its limit of tokens.",
    "filtered": "The provider's filter has blocked the rest of the answer.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTurn:
    """`question`: the texts of the new messages; `attached`: how many images and files came with them.

    `answer`: its HTML; `answer_text`: as the model wrote it. `problem`: why there is no answer, or no whole one.
    `is_left_out`: a later turn replaces it. `has_draft`: its answer is a version of a workflow.
    """

    session_id: UUID
    number: int
    run_id: UUID
    status: str
    question: str
    attached: int
    answer: Markup
    answer_text: str
    problem: str
    spending: Spending
    took: timedelta | None
    replaces: int | None
    is_left_out: bool = False
    has_draft: bool = False

    @property
    def is_open(self) -> bool:
        return self.took is None

    @property
    def path(self) -> str:
        return f"/chat/c/{self.session_id}/{self.number}"

    @property
    def announcement(self) -> str:
        """What a screen reader says when the answer is there."""
        text = f"{self.answer_text[:_ANNOUNCED]}…" if len(self.answer_text) > _ANNOUNCED else self.answer_text
        return " ".join(part for part in (self.problem, text) if part)


def title_of(session: SessionSummary) -> str:
    text = session.title or session.opening or session.name
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"


def show_turn(turn: Turn, session_id: UUID, *, so_far: str = "", drafts: bool = False) -> ShownTurn:
    """`so_far`: of the answer, for a turn that was stopped while it was written. `drafts`: answers are workflows."""
    text, problem = _answer_of(turn, so_far)
    return ShownTurn(
        session_id=session_id,
        number=turn.number,
        run_id=turn.run_id,
        status=turn.status,
        question="\n\n".join(filter(None, map(text_of, _of_user(turn.messages)))),
        attached=sum(_attachments(message) for message in _of_user(turn.messages)),
        answer=render(text) if text else Markup(),
        answer_text=text,
        problem=problem,
        spending=turn.spending,
        took=turn.finished_at - turn.created_at if turn.finished_at is not None else None,
        replaces=turn.replaces,
        is_left_out=turn.is_replaced,
        has_draft=drafts and turn.finished_at is not None and bool(documents_in(reply_of(turn))),
    )


async def show_turns(
    turns: Sequence[Turn], session_id: UUID, *, with_replaced: bool = False, drafts: bool = False
) -> list[ShownTurn]:
    """In a thread: much text takes a while."""
    chosen = [turn for turn in turns if with_replaced or not turn.is_replaced]
    return await asyncio.to_thread(lambda: [show_turn(turn, session_id, drafts=drafts) for turn in chosen])


class TurnsPage(NamedTuple):
    """Where in a conversation a page is. `earlier`, `later`: the number before the first turn of the neighbouring
    page; None: there is none. `left_out`: how many turns of this one were replaced.
    """

    earlier: int | None
    later: int | None
    left_out: int


NOWHERE: Final = TurnsPage(None, None, 0)


def page_of(turns: Sequence[Turn], session: SessionSummary, begin: int) -> TurnsPage:
    """`begin`: the number before the first of these turns."""
    last = turns[-1].number if turns else session.turns
    return TurnsPage(
        earlier=max(0, begin - MOST_TURNS) if begin else None,
        later=last if last < session.turns else None,
        left_out=sum(turn.is_replaced for turn in turns),
    )


async def read_turns(
    parts: GatewayParts, key_id: str, session: SessionSummary, *, after: int, most: int = MOST_TURNS
) -> list[Turn]:
    """The turns after a number."""
    return await parts.chats.turns(key_id, session.id, after=after, limit=most, most_bytes=MOST_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStep:
    """A step behind an answer, with its model calls. `took`: in seconds; None: it is at work."""

    name: str
    status: str
    models: str
    spending: Spending
    took: float | None


def show_steps(steps: Sequence[Step], calls: Sequence[CallRow]) -> list[ShownStep]:
    shown = []
    for step in steps:
        own = [call for call in calls if call.step == step.id]
        models = ", ".join(dict.fromkeys(call.model for call in own))
        took = step.duration_s
        shown.append(
            ShownStep(name=str(step.id), status=step.status, models=models, spending=_spending(own), took=took)
        )
    return shown


def _spending(calls: Sequence[CallRow]) -> Spending:
    """Unknown is not zero."""
    known_in = [call.tokens_in for call in calls if call.tokens_in is not None]
    known_out = [call.tokens_out for call in calls if call.tokens_out is not None]
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    return Spending(
        len(calls),
        sum(known_in) if len(known_in) == len(calls) else None,
        sum(known_out) if len(known_out) == len(calls) else None,
        sum(costs, Decimal(0)) if len(costs) == len(calls) else None,
    )


def reply_of(turn: Turn) -> str:
    """What the model has answered, also if it broke off; empty: nothing."""
    return _answer_of(turn, "")[0]


def _answer_of(turn: Turn, so_far: str) -> tuple[str, str]:
    """The answer's text, and what is wrong with it."""
    message = answer_message(turn.answer) or {}
    text = text_of(message)
    calls = [call.get("function", {}).get("name") for call in message.get("tool_calls") or ()]
    if calls:
        return text, f"The model calls tools of its caller: {', '.join(map(str, calls))}."
    match turn.status:
        case "failed" if turn.error is not None and turn.error.code in _PARTLY:
            return turn.error.reply or so_far, _PARTLY[turn.error.code]
        case "failed" if turn.error is not None and documents_in(turn.error.reply or ""):
            # A version that was wrong each time: its problems are shown with it.
            return turn.error.reply or "", f"The run has failed: {turn.error.message}"
        case "failed":
            return text or so_far, f"The run has failed: {turn.error.message if turn.error is not None else 'unknown'}"
        case "cancelled":
            return text or so_far, "Stopped."
        case "succeeded" if not text:
            return "", "The answer is empty."
        case _:
            return text, ""


def _of_user(messages: Sequence[Any]) -> list[Message]:
    return [message for message in messages if isinstance(message, Mapping) and message.get("role") == "user"]


def _attachments(message: Message) -> int:
    content = message.get("content")
    return sum(part.get("type") != "text" for part in content) if isinstance(content, list) else 0
