"""What is done with the versions of a workflow that a conversation writes: look, download, apply, go on from one."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from flowyard.api.workflows import Applied
from flowyard.drafts.check import FILE
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidRequest, UnknownSession
from flowyard.language.load import load_text
from flowyard.runs.conversations import SessionSummary
from flowyard.web.pages.entrance import read_form_body
from flowyard.web.pages.session_guard import keep_own, require_run, require_write
from flowyard.web.pages.templating import html
from flowyard.web.slow_readers import PacedResponse
from flowyard_gateway.chat_page.changes import is_of_htmx, read_form, text_in
from flowyard_gateway.chat_page.panels import make_panel
from flowyard_gateway.chat_page.registry import ask_registry
from flowyard_gateway.chat_page.routes import Number, SessionId, own_turn, talk
from flowyard_gateway.chat_page.sending import Draft, message_of, person, send
from flowyard_gateway.chat_page.versions import DraftVersion, read_version
from flowyard_gateway.chat_page.view import read_turns
from flowyard_gateway.parts import GatewayParts, InjectedParts

_DOTS: Final = {".": "%2E", "..": "%2E%2E"}

router = APIRouter(prefix="/chat", include_in_schema=False, dependencies=keep_own("own"))


@router.get("/c/{session}/{number}/draft")
async def show_draft(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """A part of the page. It says so if the registry can't be reached, and can be loaded again."""
    summary, version = await _own_version(parts, request, session, number)
    caller = person(request)
    try:
        panel = await make_panel(
            parts, request, caller, summary.id, version, is_last=version.turn.number == summary.turns
        )
    except FlowyardError as error:
        again = f"/chat/c/{session}/{number}/draft"
        return _shown(parts, request, "no_draft.html", problem=error.message, again=again)
    return _shown(parts, request, "draft.html", panel=panel)


@router.get("/c/{session}/{number}/document.yaml")
async def download(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """The document, byte by byte as the model wrote it."""
    _, version = await _own_version(parts, request, session, number)
    text = version.document
    loaded = await asyncio.to_thread(load_text, text, FILE)
    name = loaded.workflow.name if loaded.workflow is not None else "draft"
    file = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "draft"
    headers = {"content-disposition": f'attachment; filename="{file}.yaml"'}
    return PacedResponse(text.encode(errors="replace"), headers=headers, media_type="application/yaml")


@router.post("/c/{session}/{number}/apply", dependencies=[Depends(require_write)])
async def apply(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """Gives the stored text of the version to the registry, which checks everything: scope, workflows, document."""
    _, version = await _own_version(parts, request, session, number)
    form = await read_form_body(request, most_bytes=parts.settings.body_limit)
    applied, problem = None, ""
    try:
        applied = await _apply(parts, request, version, form.get("name", ""))
    except FlowyardError as error:
        problem = error.message
    return _shown(parts, request, "applied.html", applied=applied, problem=problem)


def _shown(parts: GatewayParts, request: Request, part: str, **values: Any) -> Response:
    """A part of the page; a page of its own in browsers without scripts."""
    pages = parts.entrance.pages
    if is_of_htmx(request):
        return html(pages.text(part, **values))
    back = f"/chat/c/{request.path_params['session']}"
    return pages.page(request, "version", part=part, back=back, **values)


async def _apply(parts: GatewayParts, request: Request, version: DraftVersion, name: str) -> Applied:
    """`name`: of the workflow, as the page shows it. The registry refuses a document with another one."""
    if not name:
        raise InvalidRequest([{"where": "name", "message": "the name of the workflow is missing"}])
    path = f"/v1/workflows/{_DOTS.get(name, quote(name, safe=''))}"
    content = version.document.encode("utf-8", "replace")
    answer = await ask_registry(parts, request, "PUT", path, content=content)
    return Applied.model_validate_json(answer.content)


@router.post("/c/{session}/{number}/go-on", dependencies=[Depends(require_run)])
async def go_on(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """The next message, after this version: what came after it is left out, as if it had been edited."""
    summary, version = await _own_version(parts, request, session, number)
    form = await read_form(parts, request)
    try:
        draft = await _next_of(parts, request, summary, version, text_in(form))
        await send(parts, request, person(request), replace(draft, once=form["once"]))
    except FlowyardError as error:
        return await talk(
            parts, request, summary.workflow, session=summary, problem=error, text=form["text"], version=version
        )
    return RedirectResponse(f"/chat/c/{session}", 303)


async def _next_of(
    parts: GatewayParts, request: Request, session: SessionSummary, version: DraftVersion, text: str
) -> Draft:
    draft = Draft(workflow=session.workflow, messages=[message_of(text)], once="", session=session.id)
    if version.turn.is_replaced:
        # It isn't part of what the model is given: it comes with the message.
        return replace(
            draft, messages=[message_of(f"Go on from this version:\n\n{_fenced(version.document)}\n\n{text}")]
        )
    later = await read_turns(parts, person(request).key_id, session, after=version.turn.number)
    return replace(draft, replaces=next((turn.number for turn in later if not turn.is_replaced), None))


def _fenced(document: str) -> str:
    longest = max(map(len, re.findall("`+", document)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}yaml\n{document}{fence}"


async def _own_version(
    parts: GatewayParts, request: Request, session: SessionId, number: int
) -> tuple[SessionSummary, DraftVersion]:
    """Raises UnknownSession, also if the turn has no document."""
    summary, turn = await own_turn(parts, person(request), session, number)
    version = await read_version(parts, person(request), summary, turn)
    if version is None:
        raise UnknownSession(f"{session}/{number}")
    return summary, version
