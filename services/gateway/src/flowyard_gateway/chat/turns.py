"""One request of the chat API becomes a run: by itself, or as the next turn of its conversation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor, Caller
from flowyard.control.cancel import cancel_run
from flowyard.control.submit import (
    IdempotencyKey,
    Submission,
    announce,
    announce_follower,
    checked_inputs,
    find_earlier_run,
    idempotency_columns,
    new_run_id,
    submit_run,
)
from flowyard.errors.requests import IllegalMove, InvalidInputs, InvalidRequest, SessionBusy
from flowyard.errors.steps import EvaluationError
from flowyard.language.mapping import Event, map_request
from flowyard.language.nodes import CALLER
from flowyard.language.triggers import Concurrent
from flowyard.openai_api.history import answer_message, bounded
from flowyard.openai_api.requests import Message, are_of_system, count_new, has_history, joined, opening_of
from flowyard.runs.run import NewRun
from flowyard.storage.chat_sessions import NewTurn, OpenSession, Owner
from flowyard_gateway.chat.models import ChatModel, chat_model
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.submitting import wait_for

_ONLY_SYSTEM: Final = "there is nothing to answer: send a message of the user, too"
_TOO_LARGE: Final = "the conversation has become too large: begin another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """A request. `body`: all of it; `messages`: those in it; `headers`: what documents may use of them.

    `session`: the name of its conversation; None: it belongs to none. `offer`: what it hands to the answering model.
    `new`: how many of the messages are new, if all messages of the conversation are among them; None: if there is an
    answer in them, they are taken for all.
    `replaces`: the number of a turn that is left out from now on, with those after it: the history is what was said
    before it. `concurrent`: instead of the document's.
    """

    caller: Caller
    by: Actor
    body: Mapping[str, Any] = field(repr=False)
    messages: list[Message] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    session: str | None
    key: str | None
    stream: bool
    offer: Mapping[str, Any] = field(default_factory=dict, repr=False)
    new: int | None = None
    about: Mapping[str, Any] | None = field(default=None, repr=False)
    """Of the response that the run will be: what is to be stored of its request."""
    replaces: int | None = None
    concurrent: Concurrent | None = None

    @property
    def idempotency(self) -> IdempotencyKey | None:
        if self.key is None:
            return None
        return IdempotencyKey(self.caller.key_id, self.key, self._fingerprint)

    @property
    def _fingerprint(self) -> dict[str, Any]:
        replaced = {"replaces": self.replaces} if self.replaces is not None else {}
        return {"chat": self.body, "session": self.session, **replaced}


@dataclass(frozen=True, slots=True)
class SessionName:
    """`name`: as its client calls it, or its id."""

    owner: Owner
    name: str


@dataclass(frozen=True, slots=True)
class BegunTurn:
    """`is_new`: False if the same request came before."""

    run_id: UUID
    is_new: bool
    session_id: UUID | None = None


async def begin(parts: GatewayParts, model: ChatModel, call: ChatCall, *, run_id: UUID) -> BegunTurn:
    """The run is on disk when this returns. `run_id`: of the run, if it is new.

    Raises InvalidRequest, InvalidInputs, TooLarge, QueueFull, IdempotencyMismatch, SessionBusy, TooBusy, UnknownModel.
    """
    if call.session is not None:
        return await begin_turn(parts, model, call, call.session, run_id)
    submission = Submission(
        workflow=model.name,
        inputs=inputs_of(model, call, call.messages),
        idempotency=call.idempotency,
        stream=call.stream,
        by=call.by,
    )
    return BegunTurn(*await submit_run(parts.control, submission, run_id=run_id))


def inputs_of(model: ChatModel, call: ChatCall, messages: list[Message]) -> dict[str, Any]:
    """The inputs of the run, not yet checked. Raises InvalidRequest if the request lacks what they need."""
    if model.needs_turn and are_of_system(messages):
        raise InvalidRequest([{"where": "body.messages", "message": _ONLY_SYSTEM}])
    fields = model.live.workflow.fields
    optional = {name for name, each in fields.items() if not each.required}
    try:
        inputs = map_request(model.live.trigger, Event(headers=call.headers, request=call.body), optional)
    except EvaluationError as error:
        raise InvalidRequest([{"where": "body", "message": error.message}]) from error
    inputs[model.chat.messages] = messages
    if model.chat.caller_tools and call.offer.get("tools"):
        inputs[CALLER] = dict(call.offer)
    return inputs


async def begin_turn(parts: GatewayParts, model: ChatModel, call: ChatCall, name: str, run_id: UUID) -> BegunTurn:
    """The run as the next turn of the conversation of this name, or with this id. Raises as `begin`."""
    owner = Owner(model.name, call.caller.key_id)
    session = await parts.chats.open(owner, name, new_id=new_run_id())
    wait_s = parts.settings.wait_max_s if _concurrent(model, call) != "reject" else 0.0
    async with parts.session_queues.turn(session.id, wait_s=wait_s) as has_waited:
        named = SessionName(owner, name)
        return await _next_turn(parts, model, call, named, run_id, session=None if has_waited else session)


def _concurrent(model: ChatModel, call: ChatCall) -> Concurrent:
    return call.concurrent or model.chat.concurrent


async def _next_turn(
    parts: GatewayParts,
    model: ChatModel,
    call: ChatCall,
    named: SessionName,
    run_id: UUID,
    *,
    session: OpenSession | None,
) -> BegunTurn:
    """`session`: as it was read; None: it is to be read. The statement that adds a turn notices if it has changed."""
    until = monotonic() + parts.settings.wait_max_s
    while True:
        session = session or await parts.chats.open(named.owner, named.name, new_id=new_run_id())
        if (earlier := await find_earlier_run(parts.control, call.idempotency)) is not None:
            return BegunTurn(earlier, is_new=False, session_id=session.id)
        if session.busy_with is not None:
            await _make_room(parts, call, session.busy_with, _concurrent(model, call), until=until)
        elif await add_turn(parts, model, call, session, run_id):
            return BegunTurn(run_id, is_new=True, session_id=session.id)
        else:
            # Another process was faster, or the workflow has changed.
            model = await chat_model(parts, call.caller, model.name)
        session = None


async def add_turn(parts: GatewayParts, model: ChatModel, call: ChatCall, session: OpenSession, run_id: UUID) -> bool:
    """Adds the run as the next turn of a session, as it was read; it is on disk when this returns.

    False: the session has another turn by now, or none at all; or the same request came before; or the workflow has
    changed. Raises as `begin`.
    """
    run, new = await _run_of(parts, model, call, session, run_id)
    turn = NewTurn(
        session,
        new,
        model.chat.messages,
        model.chat.output,
        opening=opening_of(call.messages[-new:]) if new else None,
        replaces=call.replaces,
        about=call.about,
    )
    async with parts.control.queue.room():
        if call.stream:
            await announce_follower(parts.control, run_id)
        # Saved first: a lost message is made up for by a poll, a lost row is not.
        if not await parts.chats.add_turn(turn, run, by=call.by):
            return False
    announce(parts.control, run)
    return True


async def _make_room(
    parts: GatewayParts, call: ChatCall, run_id: UUID, concurrent: Concurrent, *, until: float
) -> None:
    """Waits for the end of the run, `until` a time of the monotonic clock. Raises SessionBusy."""
    if concurrent == "reject" or (left := until - monotonic()) <= 0:
        raise SessionBusy(str(run_id))
    if concurrent == "cancel_previous":
        with suppress(IllegalMove):
            await cancel_run(parts.control, run_id, by=call.by)
    await wait_for(parts, run_id, left)


async def _run_of(
    parts: GatewayParts, model: ChatModel, call: ChatCall, session: OpenSession, run_id: UUID
) -> tuple[NewRun, int]:
    """The run of the next turn, and how many of its messages are new. Raises InvalidInputs, TooLarge."""
    control, workflow = parts.control, model.live.workflow
    messages = call.messages
    if call.replaces is not None:
        messages = joined(await _history_before(parts, session, call.replaces), messages)
    elif call.new is None and session.turns and not has_history(messages):
        messages = joined(await _history(parts, session), messages)
    given = inputs_of(model, call, messages)
    inputs = await checked_inputs(control, workflow, given)
    stored, execution = model.live.stored, workflow.execution
    run = NewRun(
        id=run_id,
        workflow=stored.workflow,
        revision=stored.revision,
        definition=stored.definition,
        inputs=inputs,
        priority=execution.priority,
        max_attempts=execution.max_attempts,
        timeout_s=execution.timeout,
        on_finish=workflow.on_finish,
        **idempotency_columns(control, workflow, call.idempotency),
    )
    return run, call.new if call.new is not None else count_new(call.messages)


async def _history(parts: GatewayParts, session: OpenSession) -> list[Message]:
    """What was said so far, without the oldest turns if it is long."""
    limit = parts.control.inputs_limit
    last = await parts.chats.last_turn(session, most_bytes=limit)
    if last is None:
        return []
    if last.messages is None:
        raise InvalidInputs([_TOO_LARGE])
    answer = answer_message(last.answer)
    messages: list[Message] = [*last.messages, *([answer] if answer is not None else [])]
    return bounded(messages, most_bytes=limit // 2)


async def _history_before(parts: GatewayParts, session: OpenSession, number: int) -> list[Message]:
    """What was said before a turn."""
    limit = parts.control.inputs_limit
    before = await parts.chats.before_turn(session, number, most_bytes=limit)
    if before.messages is None:
        raise InvalidInputs([_TOO_LARGE])
    return bounded(before.messages, most_bytes=limit // 2)
