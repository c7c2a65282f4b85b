"""A message of a person becomes the next turn of a conversation, in the same way as a request of the chat API does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from fastapi import Request

from flowyard.access import Actor, Caller
from flowyard.control.secret_inputs import new_inputs
from flowyard.control.submit import new_run_id
from flowyard.errors.base import FlowyardError
from flowyard.openai_api.requests import Message
from flowyard.telemetry.logs import bind_run
from flowyard.web.auth import actor_of
from flowyard.web.pages.templating import caller_of
from flowyard.web.requests import leave_to_run
from flowyard_gateway.chat.models import ChatModel, chat_model
from flowyard_gateway.chat.turns import BegunTurn, ChatCall, begin, inputs_of
from flowyard_gateway.parts import GatewayParts

_NO_MODEL = "This workflow can't be talked to at the moment: its chat trigger is paused, switched off or gone."
_NO_SCOPE = "Your key may only read. To talk, log in with a key that has the scope run."


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be sent. `session`: the conversation; None: a new one. `once`: the same for a form that is sent twice.

    `replaces`: the number of a turn that is left out from now on, with those after it.
    """

    workflow: str
    messages: list[Message]
    once: str
    session: UUID | None = None
    replaces: int | None = None


def person(request: Request) -> Caller:
    """The user who is logged in: the guard has let nobody else in."""
    caller = caller_of(request)
    assert caller is not None  # noqa: S101
    return caller


async def send(parts: GatewayParts, request: Request, caller: Caller, draft: Draft) -> BegunTurn:
    """The run is on disk when this returns. Raises as `begin`."""
    model = await chat_model(parts, caller, draft.workflow)
    call = _call(caller, actor_of(request), draft)
    if model.chat.concurrent == "queue":
        # Nobody waits in front of a page for minutes: it shows the answer that is at work, which can be stopped.
        call = replace(call, concurrent="reject")
    begun = await begin(parts, model, call, run_id=new_run_id())
    bind_run(begun.run_id)
    leave_to_run(request.scope, waited_s=0)
    return begun


def why_not(parts: GatewayParts, model: ChatModel | None, caller: Caller) -> str:
    """Why nobody can write here, in words for people; empty: one can."""
    if not caller.may("run"):
        return _NO_SCOPE
    if model is None:
        return _NO_MODEL
    probe = Draft(workflow=model.name, messages=[message_of("Hello")], once="")
    call = _call(caller, Actor(caller.key_id, caller.name, None), probe)
    try:
        new_inputs(model.live.workflow, inputs_of(model, call, probe.messages))
    except FlowyardError as error:
        return f"This workflow needs more than messages, which this page can't ask for: {error.message}."
    return ""


def message_of(text: str) -> Message:
    return {"role": "user", "content": text}


def with_text(messages: Sequence[Message], text: str) -> Message:
    """A message with this text, and with the images and files of the others."""
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    others = [part for part in parts if part.get("type") != "text"]
    return message_of(text) if not others else {"role": "user", "content": [{"type": "text", "text": text}, *others]}


def _call(caller: Caller, by: Actor, draft: Draft) -> ChatCall:
    session = str(draft.session) if draft.session is not None else f"chat-{draft.once or uuid4().hex}"
    return ChatCall(
        caller=caller,
        by=by,
        body={"model": draft.workflow, "messages": draft.messages, "stream": True},
        messages=draft.messages,
        headers={},
        session=session,
        key=f"chat-{draft.once}" if draft.once else None,
        stream=True,
        replaces=draft.replaces,
    )
