"""The routes of Open Responses: `/v1/responses`."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, HTTPException, Path, Request, Response

from flowyard.access import Caller
from flowyard.api.responses import ResponseRequest, ResponseView
from flowyard.control.submit import new_run_id
from flowyard.errors.requests import (
    IdempotencyMismatch,
    InvalidRequest,
    QueueFull,
    SessionBusy,
    TooBusy,
    TooLarge,
    TooManyStreams,
    UnknownModel,
    UnknownPreviousResponse,
    UnknownResponse,
)
from flowyard.openai_api.requests import SESSION_HEADER, is_background
from flowyard.openai_api.response_events import ResponseEvents
from flowyard.openai_api.response_items import InputItems
from flowyard.openai_api.response_tools import read_offer
from flowyard.openai_api.responses import PREFIX, Echo, ResponseHead, run_of
from flowyard.runs.run import Run
from flowyard.web.auth import actor_of
from flowyard.web.problems import guarded_responses
from flowyard.web.slow_readers import PacedResponse
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import as_json
from flowyard_gateway.chat.answering import ChatFault, answer_of
from flowyard_gateway.chat.models import ChatModel, chat_model
from flowyard_gateway.chat.response_turns import ResponseCall, begin_response
from flowyard_gateway.chat.routes import Reader, Runner
from flowyard_gateway.chat.serving import RUN_HEADER, answered, ended, invalid, mapped_headers, named_session, streamed
from flowyard_gateway.chat.stored_items import with_stored_items
from flowyard_gateway.chat.turns import BegunTurn, ChatCall
from flowyard_gateway.parts import GatewayParts, InjectedParts
from flowyard_gateway.run_routes import Key

_NOT_SUPPORTED: Final = {
    "background": "a response is answered in its request: submit a run with POST /v1/runs",
    "conversation": "there is no conversations API: use previous_response_id, or metadata.thread_id",
    "prompt": "prompts aren't stored: they are in the workflow's document",
}

_SHOWN: Final = 80
_EXAMPLE: Final = f"{PREFIX}019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20"

router = APIRouter(prefix="/v1/responses", tags=["chat"], route_class=StrictJsonRoute)


@router.post(
    "",
    name="create_response",
    summary="Answer with a response",
    description=(
        "Runs a workflow with a chat trigger, and answers in the format of Open Responses, also as a stream. The"
        f" headers `{RUN_HEADER}` and `{SESSION_HEADER}` name the run and its conversation. Errors have OpenAI's form."
    ),
    response_model=ResponseView,
    responses=guarded_responses(
        UnknownModel,
        UnknownPreviousResponse,
        InvalidRequest,
        IdempotencyMismatch,
        TooLarge,
        QueueFull,
        TooManyStreams,
        SessionBusy,
        TooBusy,
    ),
)
async def respond(
    http: Request, parts: InjectedParts, request: ResponseRequest, caller: Runner, key: Key = None
) -> Response:
    model = await chat_model(parts, caller, request.model)
    items = InputItems.read(await with_stored_items(parts, model, caller.key_id, request.input))
    asking = _read(http, model, request, items=items, caller=caller, key=key)
    call = asking.call

    def begun_as(run_id: UUID) -> Awaitable[BegunTurn]:
        return begin_response(parts, model, asking, run_id=run_id)

    def format_of(run_id: UUID) -> ResponseEvents:
        return ResponseEvents(ResponseHead(run_id, model.name, int(time.time()), asking.echo.data))

    if call.stream:
        return await streamed(http, parts, model, call, begin=begun_as, format_of=format_of)
    begun = await begun_as(new_run_id())
    run = await ended(http, parts, model, call, begun)
    result = await answer_of(parts, model, run)
    if isinstance(result, ChatFault):
        return answered(call, begun, result)
    return answered(call, begun, _head(model, run, asking.echo.data).whole(result, completed=_end(run)))


@router.get(
    "/{response}",
    name="get_response",
    summary="Get a response",
    description="One that was stored for your API key. While its run goes on, it has the status `in_progress`.",
    response_model=ResponseView,
    responses=guarded_responses(UnknownResponse, UnknownModel),
)
async def get_response(
    parts: InjectedParts,
    caller: Reader,
    response: Annotated[str, Path(description=f"Its id, `{PREFIX}` and the id of its run", examples=[_EXAMPLE])],
) -> Response:
    run = run_of(response)
    turn = await parts.chats.turn_of(caller.key_id, run, most_bytes=0) if run is not None else None
    may_see = turn is not None and (caller.workflows is None or turn.workflow in caller.workflows)
    if run is None or turn is None or turn.about is None or not may_see:
        raise UnknownResponse(response[:_SHOWN])
    model = await chat_model(parts, caller, turn.workflow)
    # The document may have changed since.
    model = replace(model, chat=replace(model.chat, output=turn.output))
    return PacedResponse(as_json(await _stored(parts, model, run, turn.about)), 200, None, "application/json")


@router.post("/{action}", include_in_schema=False)
async def refuse_action(_caller: Runner, action: str) -> Response:
    """What clients of OpenAI ask for besides, such as `compact`: as if there were no path of this kind."""
    del action
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def _stored(parts: GatewayParts, model: ChatModel, run_id: UUID, about: Any) -> dict[str, Any]:
    run = await parts.control.runs.get(run_id)
    head = _head(model, run, about)
    if run.is_open:
        return head.resource("in_progress")
    if run.status == "cancelled":
        return head.resource("cancelled")
    result = await answer_of(parts, model, run)
    if isinstance(result, ChatFault):
        return head.resource("failed", error=result.body["error"])
    return head.whole(result, completed=_end(run))


def _head(model: ChatModel, run: Run, echo: Any) -> ResponseHead:
    return ResponseHead(run.id, model.name, int(run.created_at.timestamp()), echo)


def _end(run: Run) -> int | None:
    return int(run.finished_at.timestamp()) if run.finished_at is not None else None


def _read(
    http: Request, model: ChatModel, request: ResponseRequest, *, items: InputItems, caller: Caller, key: str | None
) -> ResponseCall:
    """Raises InvalidRequest."""
    problems = [
        {"where": f"body.{name}", "message": message}
        for name, message in _NOT_SUPPORTED.items()
        if getattr(request, name)
    ]
    problems += items.problems
    offer = read_offer(request.tools, request.tool_choice, parallel=request.parallel_tool_calls, problems=problems)
    if problems:
        raise InvalidRequest(problems)
    headers = mapped_headers(http)
    is_for_itself = is_background(items.messages)
    if is_for_itself and model.chat.background == "refuse":
        raise invalid("input", "this model answers no requests for titles, tags or follow-up questions")
    has_session = request.store is not False and not is_for_itself
    call = ChatCall(
        caller=caller,
        by=actor_of(http),
        body=request.model_dump(exclude_unset=True),
        messages=list(items.messages),
        headers=headers,
        session=named_session(headers, request.metadata, None) if has_session else None,
        key=key,
        stream=bool(request.stream),
        offer=offer,
    )
    return ResponseCall(call, _echo_of(model, request))


def _echo_of(model: ChatModel, request: ResponseRequest) -> Echo:
    tools = (request.tools or ()) if model.chat.caller_tools else ()
    choice = request.tool_choice if tools else None
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        choice = {"mode": "auto", **choice}
    return Echo(
        instructions=request.instructions,
        previous_response_id=request.previous_response_id,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=request.parallel_tool_calls,
        metadata=request.metadata,
        store=request.store is not False,
    )
