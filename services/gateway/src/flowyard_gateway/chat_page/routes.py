"""The pages under `/chat`: workflows to talk to, conversations, and the streams of their answers."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from flowyard.access import Caller
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import UnknownSession
from flowyard.openai_api.responses import NAMELESS
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard.web.pages.session_guard import keep_own
from flowyard.web.pages.templating import html
from flowyard.web.sse import EventStream
from flowyard_gateway.chat.models import ChatModel, chat_model, live_triggers
from flowyard_gateway.chat.session_routes import own_session
from flowyard_gateway.chat_page.live import follow_turn
from flowyard_gateway.chat_page.sending import person, why_not
from flowyard_gateway.chat_page.versions import DraftVersion, read_version
from flowyard_gateway.chat_page.view import MOST_TURNS, NOWHERE, page_of, read_turns, show_steps, show_turns, title_of
from flowyard_gateway.parts import GatewayParts, InjectedParts

SessionId: TypeAlias = Annotated[UUID, Path()]
Number: TypeAlias = Annotated[int, Path(ge=1, le=2**31 - 1)]
Words: TypeAlias = Annotated[str, Query(alias="q", max_length=100)]
_MOST_LISTED: Final = 50
_MOST_MODELS: Final = 200

router = APIRouter(prefix="/chat", include_in_schema=False, dependencies=keep_own("own"))


@router.get("")
async def start_page(parts: InjectedParts, request: Request, words: Words = "") -> Response:
    caller = person(request)
    names = [stored.workflow for stored in await live_triggers(parts, caller)]
    models = [(name, await model_of(parts, caller, name)) for name in names[:_MOST_MODELS]]
    writers = [name for name, model in models if has_drafts(model)]
    models.sort(key=lambda named: named[0] not in writers)
    sidebar = await _sidebar(parts, caller, words)
    return parts.entrance.pages.page(request, "start", models=models, writers=writers, **sidebar)


@router.get("/")
async def start_page_with_slash(request: Request) -> Response:
    return RedirectResponse(f"/chat?{request.url.query}" if request.url.query else "/chat", 308)


@router.get("/w/{workflow}")
async def new_page(parts: InjectedParts, request: Request, workflow: str) -> Response:
    return await talk(parts, request, workflow)


@router.get("/c/{session}")
async def talk_page(
    parts: InjectedParts,
    request: Request,
    session: SessionId,
    *,
    after: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    everything: Annotated[bool, Query(alias="all")] = False,
    go_on_from: Annotated[int | None, Query(alias="from", ge=1, le=2**31 - 1)] = None,
) -> Response:
    caller = person(request)
    summary = await own_session(parts, caller, session)
    version = None
    if go_on_from is not None:
        _, turn = await own_turn(parts, caller, session, go_on_from)
        version = await read_version(parts, caller, summary, turn)
    return await talk(
        parts, request, summary.workflow, session=summary, after=after, everything=everything, version=version
    )


async def talk(  # noqa: PLR0913  # by keyword
    parts: GatewayParts,
    request: Request,
    workflow: str,
    *,
    session: SessionSummary | None = None,
    after: int | None = None,
    everything: bool = False,
    problem: FlowyardError | None = None,
    text: str = "",
    version: DraftVersion | None = None,
) -> Response:
    """The page of a conversation; of a new one without `session`. `after`: the number of the turn before the first
    that is shown. `everything`: also what was replaced. `problem`: why `text` wasn't sent. `version`: from which the
    next message goes on; None: from the last one.
    """
    caller = person(request)
    model = await (chat_model(parts, caller, workflow) if session is None else model_of(parts, caller, workflow))
    values: dict[str, Any] = {
        "session": session,
        "workflow": workflow,
        "model": model,
        "obstacle": why_not(parts, model, caller),
        "once": uuid4().hex,
        "problem": problem,
        "text": text,
        "shows_all": everything,
        "version": version,
        **await _shown(parts, caller, session, after, everything=everything, drafts=has_drafts(model)),
        **await _sidebar(parts, caller, "", session),
    }
    status = problem.status if problem is not None else 200
    return parts.entrance.pages.page(request, "talk", status=status, **values)


async def _shown(
    parts: GatewayParts,
    caller: Caller,
    session: SessionSummary | None,
    after: int | None,
    *,
    everything: bool,
    drafts: bool,
) -> dict[str, Any]:
    if session is None:
        return {"turns": [], **NOWHERE._asdict()}
    begin = max(0, session.turns - MOST_TURNS) if after is None else after
    turns = await read_turns(parts, caller.key_id, session, after=begin)
    shown = await show_turns(turns, session.id, with_replaced=everything, drafts=drafts)
    return {"turns": shown, **page_of(turns, session, begin)._asdict()}


@router.get("/c/{session}/{number}/stream")
async def stream(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    caller = person(request)
    summary, turn = await own_turn(parts, caller, session, number)
    model = await model_of(parts, caller, summary.workflow)
    return EventStream(
        follow_turn(parts, request, summary, turn, model),
        shutting_down=parts.shutting_down,
        metrics=parts.metrics.http,
        opened=parts.streams.opened(caller.key_id),
    )


@router.get("/c/{session}/{number}/steps")
async def steps(parts: InjectedParts, request: Request, session: SessionId, number: Number) -> Response:
    """The steps behind an answer."""
    _, turn = await own_turn(parts, person(request), session, number)
    shown = await parts.control.history.steps(turn.run_id, most_bytes=0)
    calls = await parts.control.history.calls(turn.run_id)
    return html(parts.entrance.pages.part("steps", show_steps(shown, calls), turn.run_id))


async def own_turn(parts: GatewayParts, caller: Caller, session_id: UUID, number: int) -> tuple[SessionSummary, Turn]:
    """Raises UnknownSession."""
    summary = await own_session(parts, caller, session_id)
    turns = await read_turns(parts, caller.key_id, summary, after=number - 1, most=1)
    if not turns or turns[0].number != number:
        raise UnknownSession(f"{session_id}/{number}")
    return summary, turns[0]


async def model_of(parts: GatewayParts, caller: Caller, workflow: str) -> ChatModel | None:
    """None: nobody can talk to it at the moment."""
    try:
        return await chat_model(parts, caller, workflow)
    except FlowyardError:
        return None


def has_drafts(model: ChatModel | None) -> bool:
    """Whether its answers are versions of workflows."""
    return model is not None and model.writes_workflows


async def _sidebar(
    parts: GatewayParts, caller: Caller, words: str, current: SessionSummary | None = None
) -> dict[str, Any]:
    """The list of conversations. `words`: only those that contain them."""
    sessions = await parts.chats.page(
        caller.key_id, workflows=caller.workflows, words=words.strip(), unnamed=NAMELESS, limit=_MOST_LISTED + 1
    )
    return {
        "chats": [(session, title_of(session)) for session in sessions[:_MOST_LISTED]],
        "has_more": len(sessions) > _MOST_LISTED,
        "words": words,
        "current": current.id if current is not None else None,
        "title": title_of(current) if current is not None else None,
    }
