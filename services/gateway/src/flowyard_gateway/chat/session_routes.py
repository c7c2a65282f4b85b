"""The routes under `/v1/chat/sessions`: the conversations of the API key that asks."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from flowyard.access import Caller
from flowyard.api.chat import SessionChange, SessionPage, SessionView, TurnPage, TurnView
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.api.workflows import WorkflowName
from flowyard.errors.requests import UnknownSession
from flowyard.runs.conversations import SessionSummary
from flowyard.web.auth import check_workflow
from flowyard.web.problems import guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import answer
from flowyard_gateway.chat.routes import Reader, Runner
from flowyard_gateway.parts import GatewayParts, InjectedParts

_BYTES: Final = 4_000_000
"""Most bytes of the messages of one page."""
SessionId: TypeAlias = Annotated[UUID, Path(description="The conversation's id")]
PageLimit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="How many items at most")]

router = APIRouter(prefix="/v1/chat/sessions", tags=["chat"], route_class=StrictJsonRoute)


@router.get(
    "",
    summary="List conversations",
    description="Those of your API key, the newest first. `next_cursor` is null on the last page.",
    responses=guarded_responses(),
)
async def list_sessions(
    parts: InjectedParts,
    caller: Reader,
    *,
    workflow: Annotated[WorkflowName | None, Query(description="Only those with this workflow")] = None,
    words: Annotated[
        str, Query(alias="q", max_length=100, description="That the title, the beginning or the name contains")
    ] = "",
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: PageLimit = DEFAULT_LIMIT,
) -> SessionPage:
    check_workflow(caller, workflow)
    own = caller.workflows if workflow is None else [workflow]
    sessions = await parts.chats.page(caller.key_id, workflows=own, before=cursor, words=words, limit=limit + 1)
    next_cursor = str(sessions[limit - 1].id) if len(sessions) > limit else None
    return SessionPage(items=[SessionView.of(session) for session in sessions[:limit]], next_cursor=next_cursor)


@router.get(
    "/{session}",
    summary="Get a conversation",
    description="With what its runs have cost. Its turns are read apart.",
    responses=guarded_responses(UnknownSession),
)
async def get_session(parts: InjectedParts, session: SessionId, caller: Reader) -> SessionView:
    return SessionView.of(await own_session(parts, caller, session))


@router.get(
    "/{session}/turns",
    summary="Read a conversation",
    description="Its turns in their order: what was new in each, and the answer.",
    response_model=TurnPage,
    responses=guarded_responses(UnknownSession),
)
async def list_turns(
    parts: InjectedParts,
    session: SessionId,
    caller: Reader,
    *,
    cursor: Annotated[int, Query(ge=0, le=2**31 - 1, description="The `next_cursor` of the previous page")] = 0,
    limit: PageLimit = DEFAULT_LIMIT,
) -> Response:
    summary = await own_session(parts, caller, session)
    turns = await parts.chats.turns(caller.key_id, session, after=cursor, limit=limit, most_bytes=_BYTES)
    more = turns and turns[-1].number < summary.turns
    return answer(
        TurnPage(items=[TurnView.of(turn) for turn in turns], next_cursor=str(turns[-1].number) if more else None)
    )


@router.patch(
    "/{session}",
    summary="Rename a conversation",
    description="Gives it a title, by which lists show it and find it.",
    responses=guarded_responses(UnknownSession),
)
async def rename_session(
    parts: InjectedParts, session: SessionId, change: SessionChange, caller: Runner
) -> SessionView:
    await own_session(parts, caller, session)
    await parts.chats.rename(caller.key_id, session, change.title)
    return SessionView.of(await own_session(parts, caller, session))


@router.delete(
    "/{session}",
    summary="Delete a conversation",
    description="It isn't listed or continued any more. Its runs are kept, as all runs are.",
    responses=guarded_responses(UnknownSession),
)
async def delete_session(parts: InjectedParts, session: SessionId, caller: Runner) -> SessionView:
    summary = await own_session(parts, caller, session)
    await parts.chats.delete(caller.key_id, session)
    return SessionView.of(summary)


async def own_session(parts: GatewayParts, caller: Caller, session_id: UUID) -> SessionSummary:
    """Raises UnknownSession, also for one of another key, or of a workflow that the key isn't for any more."""
    session = await parts.chats.get(caller.key_id, session_id)
    if caller.workflows is not None and session.workflow not in caller.workflows:
        raise UnknownSession(str(session_id))
    return session
