"""A whole conversation as a file: Markdown for people, JSON for programs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from flowyard.access import Caller
from flowyard.api.chat import SessionView, TurnView
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard.web.pages.session_guard import keep_own
from flowyard.web.slow_readers import PacedResponse
from flowyard_gateway.answers import as_json
from flowyard_gateway.chat.session_routes import own_session
from flowyard_gateway.chat_page.routes import SessionId
from flowyard_gateway.chat_page.sending import person
from flowyard_gateway.chat_page.view import MOST_TURNS, read_turns, show_turn, title_of
from flowyard_gateway.parts import GatewayParts, InjectedParts

_MOST_BYTES: Final = 64 * 1024 * 1024
_TYPES: Final = {"md": "text/markdown; charset=utf-8", "json": "application/json"}
Format: TypeAlias = Annotated[Literal["md", "json"], Path()]

router = APIRouter(prefix="/chat", include_in_schema=False, dependencies=keep_own("own"))


@router.get("/c/{session}/export.{form}")
async def export(parts: InjectedParts, request: Request, session: SessionId, form: Format) -> Response:
    """With the turns that were replaced in JSON, without them in Markdown. The newest are left out past 64 MB."""
    caller = person(request)
    summary = await own_session(parts, caller, session)
    turns = [turn async for turn in _all_turns(parts, caller, summary)]
    body = _markdown(summary, turns) if form == "md" else _json(summary, turns)
    name = re.sub(r"[^A-Za-z0-9]+", "-", title_of(summary)).strip("-").lower()[:60] or "conversation"
    headers = {"content-disposition": f'attachment; filename="{name}.{form}"'}
    return PacedResponse(body, headers=headers, media_type=_TYPES[form])


async def _all_turns(parts: GatewayParts, caller: Caller, session: SessionSummary) -> AsyncIterator[Turn]:
    after, size = 0, 0
    while size < _MOST_BYTES and (
        turns := await read_turns(parts, caller.key_id, session, after=after, most=MOST_TURNS)
    ):
        for turn in turns:
            size += len(str(turn.messages)) + len(str(turn.answer))
            yield turn
        after = turns[-1].number


def _json(session: SessionSummary, turns: list[Turn]) -> bytes:
    data = SessionView.of(session).model_dump() | {"items": [TurnView.of(turn).model_dump() for turn in turns]}
    return as_json(data)


def _markdown(session: SessionSummary, turns: list[Turn]) -> bytes:
    lines = [f"# {title_of(session)}", f"With {session.workflow}, from {session.created_at:%Y-%m-%d %H:%M} UTC."]
    for turn in turns:
        if turn.is_replaced:
            continue
        shown = show_turn(turn, session.id)
        lines += ["## You", shown.question, f"## {session.workflow}", shown.answer_text, f"*{shown.problem}*"]
    return "\n\n".join(line for line in lines if line not in ("", "**")).encode(errors="replace") + b"\n"
