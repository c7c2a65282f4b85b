"""OpenAI's routes: `/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Annotated, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from flowyard.access import Caller
from flowyard.api.chat import CompletionRequest, CompletionView, ModelList, ModelView
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
)
from flowyard.openai_api.errors import of_problem
from flowyard.openai_api.paths import is_of_openai
from flowyard.openai_api.replies import Chunks, CompletionHead
from flowyard.openai_api.requests import SESSION_HEADER, is_background
from flowyard.openai_api.streams import ChatStream
from flowyard.storage.triggers import StoredTrigger
from flowyard.web.auth import actor_of, require
from flowyard.web.error_forms import ErrorForm
from flowyard.web.problems import guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.chat.answering import ChatFault, answer_of
from flowyard_gateway.chat.models import ChatModel, chat_model, live_trigger, live_triggers
from flowyard_gateway.chat.serving import RUN_HEADER, answered, ended, invalid, mapped_headers, named_session, streamed
from flowyard_gateway.chat.turns import BegunTurn, ChatCall, begin
from flowyard_gateway.parts import InjectedParts
from flowyard_gateway.run_routes import Key

Reader: TypeAlias = Annotated[Caller, Depends(require("read", reach="own"))]
Runner: TypeAlias = Annotated[Caller, Depends(require("run", reach="own"))]
_COMPLETIONS: Final = "/v1/chat/completions"
_MODELS: Final = "/v1/models"
_OFFERED: Final = ("tools", "tool_choice", "parallel_tool_calls")
"""What a caller may hand to the answering model, by the keys of the request."""

router = APIRouter(tags=["chat"], route_class=StrictJsonRoute)


ERRORS: Final = ErrorForm(is_of_openai, of_problem)
"""Errors of these routes have OpenAI's form, whoever finds them."""


@router.get(
    _MODELS,
    summary="List the models",
    description="The workflows with a chat trigger that is live, in OpenAI's format.",
    responses=guarded_responses(),
)
async def list_models(parts: InjectedParts, caller: Reader) -> ModelList:
    return ModelList(data=[_model(stored) for stored in await live_triggers(parts, caller)])


@router.get(
    _MODELS + "/{model}",
    summary="Get a model",
    description="A workflow with a chat trigger that is live, in OpenAI's format.",
    responses=guarded_responses(UnknownModel),
)
async def get_model(
    parts: InjectedParts, caller: Reader, model: Annotated[str, Path(description="The workflow's name")]
) -> ModelView:
    return _model(await live_trigger(parts, caller, model))


def _model(stored: StoredTrigger) -> ModelView:
    return ModelView(id=stored.workflow, created=int(stored.created_at.timestamp()))


@router.post(
    _COMPLETIONS,
    name="create_chat_completion",
    summary="Answer a chat message",
    description=(
        "Runs a workflow with a chat trigger, and answers in OpenAI's format, also as a stream. The headers"
        f" `{RUN_HEADER}` and `{SESSION_HEADER}` name the run and its conversation. Errors have OpenAI's form."
    ),
    response_model=CompletionView,
    responses=guarded_responses(
        UnknownModel, InvalidRequest, IdempotencyMismatch, TooLarge, QueueFull, TooManyStreams, SessionBusy, TooBusy
    ),
)
async def complete(
    http: Request, parts: InjectedParts, request: CompletionRequest, caller: Runner, key: Key = None
) -> Response:
    model = await chat_model(parts, caller, request.model)
    call = _call(http, model, request, caller, key)

    def begun_as(run_id: UUID) -> Awaitable[BegunTurn]:
        return begin(parts, model, call, run_id=run_id)

    def format_of(run_id: UUID) -> ChatStream:
        with_usage = request.stream_options is not None and bool(request.stream_options.include_usage)
        return ChatStream(Chunks(CompletionHead(f"chatcmpl-{run_id}", model.name, int(time.time())), with_usage))

    if call.stream:
        return await streamed(http, parts, model, call, begin=begun_as, format_of=format_of)
    begun = await begun_as(new_run_id())
    run = await ended(http, parts, model, call, begun)
    result = await answer_of(parts, model, run)
    if isinstance(result, ChatFault):
        return answered(call, begun, result)
    head = CompletionHead(f"chatcmpl-{run.id}", model.name, int(run.created_at.timestamp()))
    return answered(call, begun, head.completion(result))


def _call(http: Request, model: ChatModel, request: CompletionRequest, caller: Caller, key: str | None) -> ChatCall:
    """Raises InvalidRequest."""
    if request.n not in (None, 1):
        raise invalid("n", "only one answer per request: send the request several times")
    headers = mapped_headers(http)
    session = None
    if not is_background(request.messages):
        session = named_session(headers, request.metadata, request.user)
    elif model.chat.background == "refuse":
        raise invalid("messages", "this model answers no requests for titles, tags or follow-up questions")
    body = request.model_dump(exclude_unset=True)
    return ChatCall(
        caller=caller,
        by=actor_of(http),
        body=body,
        messages=list(request.messages),
        headers=headers,
        session=session,
        key=key,
        stream=bool(request.stream),
        offer={name: body[name] for name in _OFFERED if body.get(name) is not None},
    )
