"""What people do on the page: send, stop, edit, ask again, rename, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from flowyard.access import Caller
from flowyard.api.chat import LONGEST_TITLE
from flowyard.control.cancel import cancel_run
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import IllegalMove, InvalidRequest
from flowyard.openai_api.requests import Message
from flowyard.runs.conversations import SessionSummary
from flowyard.web.auth import actor_of
from flowyard.web.pages.entrance import read_form_body
from flowyard.web.pages.session_guard import keep_own, require_run
from flowyard.web.pages.templating import html
from flowyard_gateway.chat.session_routes import own_session
from flowyard_gateway.chat_page.routes import Number, SessionId, has_drafts, model_of, own_turn, talk
from flowyard_gateway.chat_page.sending import Draft, message_of, person, send, with_text
from flowyard_gateway.chat_page.view import MOST_TURNS, ShownTurn, TurnsPage, page_of, read_turns, show_turns, title_of
from flowyard_gateway.parts import GatewayParts, InjectedParts

_ONCE: Final = re.compile(r"[0-9a-f]{32}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]+")

router = APIRouter(prefix="/chat", include_in_schema=False, dependencies=[*keep_own("own"), Depends(require_run)])


@router.post("/w/{workflow}")
async def begin_talk(parts: InjectedParts, request: Request, workflow: str) -> Response:
    """The first message: the page of the new conversation is the answer."""
    form = await read_form(parts, request)
    draft = Draft(workflow=workflow, messages=[message_of(text_in(form))], once=form["once"])
    try:
        begun = await send(parts, request, person(request), draft)
    except FlowyardError as error:
        return await talk(parts, request, workflow, problem=error, text=form["text"])
    return RedirectResponse(f"/chat/c/{begun.session_id}", 303)


@router.post("/c/{session}")
async def say(parts: InjectedParts, request: Request, session: SessionId) -> Response:
    """The next message. Also shows the turns that have come since the page was read, in another tab."""
    summary = await own_session(parts, person(request), session)
    form = await read_form(parts, request)
    draft = _draft(summary, [message_of(text_in(form))], form)
    return await _sent(parts, request, summary, draft, text=form["text"], after=_number(form.get("after")))


@router.post("/c/{session}/{number}/edit")
async def edit(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """Another message in place of that of a turn, which is left out from then on, with all after it."""
    summary, turn = await own_turn(parts, person(request), session, number)
    form = await read_form(parts, request)
    draft = _draft(summary, [with_text(turn.messages, text_in(form))], form, replaces=number)
    return await _sent(parts, request, summary, draft, text=form["text"], after=None)


@router.post("/c/{session}/{number}/again")
async def answer_again(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """The messages of a turn again, in its place."""
    summary, turn = await own_turn(parts, person(request), session, number)
    form = await read_form(parts, request)
    draft = _draft(summary, turn.messages, form, replaces=number)
    return await _sent(parts, request, summary, draft, text="", after=None)


@router.post("/c/{session}/{number}/stop")
async def stop(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    _, turn = await own_turn(parts, person(request), session, number)
    with suppress(IllegalMove):  # it has just ended
        await cancel_run(parts.control, turn.run_id, by=actor_of(request))
    return Response(status_code=204) if is_of_htmx(request) else _back(session)


@router.post("/c/{session}/title")
async def rename(parts: InjectedParts, request: Request, session: SessionId) -> Response:
    caller = person(request)
    await own_session(parts, caller, session)
    form = await read_form_body(request, most_bytes=parts.settings.body_limit)
    title = " ".join(_UNPRINTABLE.sub(" ", form.get("title", "")).split())[:LONGEST_TITLE]
    await parts.chats.rename(caller.key_id, session, title or None)
    return _back(session)


@router.post("/c/{session}/delete")
async def delete(parts: InjectedParts, request: Request, session: SessionId) -> Response:
    caller = person(request)
    await own_session(parts, caller, session)
    await parts.chats.delete(caller.key_id, session)
    return RedirectResponse("/chat", 303)


def _draft(
    session: SessionSummary, messages: list[Message], form: Mapping[str, str], *, replaces: int | None = None
) -> Draft:
    return Draft(workflow=session.workflow, messages=messages, once=form["once"], session=session.id, replaces=replaces)


async def _sent(
    parts: GatewayParts, request: Request, session: SessionSummary, draft: Draft, *, text: str, after: int | None
) -> Response:
    """`text`: what to keep if it can't be sent. `after`: the number of the last turn that the page shows; None: all
    turns are shown again.
    """
    problem: FlowyardError | None = None
    try:
        await send(parts, request, person(request), draft)
    except FlowyardError as error:
        problem = error
    if is_of_htmx(request):
        return await _update(parts, person(request), session, problem, after=after)
    if problem is None:
        return _back(session.id)
    return await talk(parts, request, session.workflow, session=session, problem=problem, text=text)


async def _update(
    parts: GatewayParts, caller: Caller, session: SessionSummary, problem: FlowyardError | None, *, after: int | None
) -> Response:
    summary = await own_session(parts, caller, session.id)
    shown: list[ShownTurn] = []
    page: TurnsPage | None = None
    if problem is None or after is not None:
        begin = max(after or 0, summary.turns - MOST_TURNS)
        turns = await read_turns(parts, caller.key_id, summary, after=begin)
        drafts = has_drafts(await model_of(parts, caller, summary.workflow))
        shown = await show_turns(turns, summary.id, drafts=drafts)
        page = page_of(turns, summary, begin) if after is None else None
    update = parts.entrance.pages.part("update", shown, summary, title_of(summary), problem, uuid4().hex, page)
    return html(update, problem.status if problem is not None else 200)


async def read_form(parts: GatewayParts, request: Request) -> dict[str, str]:
    """With `text` and `once`."""
    form = await read_form_body(request, most_bytes=parts.settings.body_limit)
    once = form.get("once", "")
    return {**form, "text": form.get("text", ""), "once": once if _ONCE.fullmatch(once) else uuid4().hex}


def text_in(form: Mapping[str, str]) -> str:
    """Raises InvalidRequest."""
    text = form["text"].replace("\r\n", "\n").strip()
    if not text:
        raise InvalidRequest([{"where": "text", "message": "the message is empty"}])
    return text


def _number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,9}", text) else 0


def _back(session: UUID) -> Response:
    return RedirectResponse(f"/chat/c/{session}", 303)


def is_of_htmx(request: Request) -> bool:
    return "hx-request" in request.headers
