"""One request of the responses API becomes a run: the turn after the response that it continues, or a first one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from flowyard.control.submit import find_earlier_run
from flowyard.errors.requests import InvalidInputs, SessionBusy, UnknownPreviousResponse
from flowyard.openai_api.history import answer_message, bounded
from flowyard.openai_api.requests import Message
from flowyard.openai_api.response_items import continued, with_instructions
from flowyard.openai_api.responses import PREFIX, Echo, run_of
from flowyard.runs.run import OPEN
from flowyard.storage.chat_sessions import StoredTurn
from flowyard_gateway.chat.models import ChatModel, chat_model
from flowyard_gateway.chat.turns import BegunTurn, ChatCall, add_turn, begin, begin_turn
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.submitting import wait_for

_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """A request. `call.messages`: those of its input, without the instructions."""

    call: ChatCall
    echo: Echo


async def begin_response(parts: GatewayParts, model: ChatModel, request: ResponseCall, *, run_id: UUID) -> BegunTurn:
    """The run is on disk when this returns. Raises UnknownPreviousResponse, and what `turns.begin` raises."""
    try:
        return await _begin(parts, model, request, run_id)
    except InvalidInputs as error:
        # The request has no messages: its input became them.
        name = model.chat.messages
        raise InvalidInputs([f"input: {each}" if each.startswith(name) else each for each in error.problems]) from error


async def _begin(parts: GatewayParts, model: ChatModel, request: ResponseCall, run_id: UUID) -> BegunTurn:
    call, echo = request.call, request.echo
    if (earlier := await find_earlier_run(parts.control, call.idempotency)) is not None:
        turn = await parts.chats.turn_of(call.caller.key_id, earlier, most_bytes=0)
        return BegunTurn(earlier, is_new=False, session_id=turn.session_id if turn is not None else None)
    if echo.previous_response_id is not None:
        return await _continue(parts, model, request, echo.previous_response_id, run_id)
    call = replace(call, messages=with_instructions(call.messages, echo.instructions))
    return await _add(parts, model, call, echo, run_id, name=call.session)


async def _continue(
    parts: GatewayParts, model: ChatModel, request: ResponseCall, response_id: str, run_id: UUID
) -> BegunTurn:
    """The turn after that response. If another turn comes after it already, this one begins a conversation."""
    while True:
        before = await _previous(parts, model, request.call, response_id)
        call = replace(request.call, messages=_after(parts, before, request), new=len(request.call.messages))
        if not request.echo.store or not before.is_last:
            return await _add(parts, model, call, request.echo, run_id, name=None)
        call = replace(call, about=request.echo.data)
        if await add_turn(parts, model, call, before.session, run_id):
            return BegunTurn(run_id, is_new=True, session_id=before.session.id)
        # Another turn was faster, or the same request, or the workflow has changed.
        if (earlier := await find_earlier_run(parts.control, call.idempotency)) is not None:
            return BegunTurn(earlier, is_new=False, session_id=before.session.id)
        model = await chat_model(parts, call.caller, model.name)


async def _add(
    parts: GatewayParts, model: ChatModel, call: ChatCall, echo: Echo, run_id: UUID, *, name: str | None
) -> BegunTurn:
    """`name`: of the conversation; None: the response begins one, if it is to be stored."""
    if not echo.store:
        return await begin(parts, model, replace(call, session=None), run_id=run_id)
    return await begin_turn(parts, model, replace(call, about=echo.data), name or f"{PREFIX}{run_id}", run_id)


async def _previous(parts: GatewayParts, model: ChatModel, call: ChatCall, response_id: str) -> StoredTurn:
    """The turn that is a response, once it has ended, for some time. Raises UnknownPreviousResponse, SessionBusy."""
    turn = await _turn(parts, model, call, response_id)
    if turn.status in OPEN and model.chat.concurrent != "reject" and (run := run_of(response_id)) is not None:
        await wait_for(parts, run, parts.settings.wait_max_s)
        turn = await _turn(parts, model, call, response_id)
    if turn.status in OPEN:
        raise SessionBusy(response_id.removeprefix(PREFIX))
    if turn.status != "succeeded":
        raise UnknownPreviousResponse(f"response '{response_id}' has no answer, so it can't be continued")
    return turn


async def _turn(parts: GatewayParts, model: ChatModel, call: ChatCall, response_id: str) -> StoredTurn:
    run = run_of(response_id)
    limit = parts.control.inputs_limit
    turn = await parts.chats.turn_of(call.caller.key_id, run, most_bytes=limit) if run is not None else None
    if turn is None or turn.workflow != model.name or turn.about is None:
        raise UnknownPreviousResponse(f"no response '{response_id[:_SHOWN]}' of this model is stored for this key")
    return turn


def _after(parts: GatewayParts, before: StoredTurn, request: ResponseCall) -> list[Message]:
    """What was said so far, without the oldest turns if it is long, and the new messages."""
    if before.messages is None:
        raise InvalidInputs(["input: the conversation has become too large: begin another one"])
    answer = answer_message(before.answer)
    said = bounded(
        [*before.messages, *([answer] if answer is not None else [])], most_bytes=parts.control.inputs_limit // 2
    )
    dropped = (before.about or {}).get("instructions")
    return continued(said, request.call.messages, dropped=dropped, instructions=request.echo.instructions)
