"""What becomes of one message of NATS: the start of a run, or a record of why not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flowyard.bus.trigger_stream import Message, StreamMessage
from flowyard.containers import TooManyContainers
from flowyard.control.deliver import Delivered, LiveTrigger, StaleTrigger, inputs_of, record, start
from flowyard.control.submit import new_run_id
from flowyard.errors.requests import UnknownTrigger
from flowyard.errors.webhooks import NotMapped
from flowyard.exact_json import event_json, json_fault
from flowyard.language.mapping import Event
from flowyard.runs.deliveries import MOST_KEPT, NewDelivery
from flowyard.storage.database import dumps
from flowyard.webhooks.payloads import usable_id
from flowyard_registry.parts import RegistryParts

_LARGE: Final = 64 * 1024
"""Bytes of a message that is decoded and encoded in a thread."""
_SUBJECT: Final = "nats-subject"
_TIME: Final = "nats-time-stamp"


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message for a trigger. `own_id`: the same in all its copies; None: it has none. `sent_at`: None: now.

    `headers`: with the subject and the time, by the names that NATS itself uses.
    """

    body: bytes
    headers: Mapping[str, str]
    sender_id: str | None
    own_id: str | None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Decoded:
    """`stored`: the payload as JSON; None: it is too large. `fault`: why the payload is a text."""

    payload: Any
    stored: str | None
    fault: str | None


def incoming_message(message: StreamMessage, *, only_by_id: bool) -> IncomingMessage:
    if message.id is not None:
        own = _by_id(message.id)
    elif only_by_id:
        own = f"at:{message.place}"
    else:
        own = f"content:{_digest(message.subject.encode() + b' ' + message.body)}"
    headers = _headers(message) | {_TIME: message.sent_at.isoformat()}
    return IncomingMessage(message.body, headers, usable_id(message.id), own, message.sent_at)


def incoming_request(message: Message) -> IncomingMessage:
    """Only those with an id can be copies: whoever asks again wants another answer."""
    own = _by_id(message.id) if message.id is not None else None
    return IncomingMessage(message.body, _headers(message), usable_id(message.id), own)


def _by_id(text: str) -> str:
    """Of an id that is too long, or has other characters than we show, the digest."""
    return f"id:{usable_id(text) or _digest(text.encode(errors='replace'))}"


async def read_live(parts: RegistryParts, workflow: str, name: str) -> LiveTrigger | None:
    """The trigger as it is now; None: there is none. Raises InvalidDocument."""
    try:
        stored = await parts.triggers.get(workflow, name)
    except UnknownTrigger:
        return None
    return LiveTrigger(stored, await parts.control.documents.get(stored.workflow, stored.definition, stored.digest))


async def deliver_message(
    parts: RegistryParts, live: LiveTrigger, incoming: IncomingMessage, *, is_text: bool, run_id: UUID
) -> Delivered:
    """When it returns, what became of the message is on disk. Raises StaleTrigger, QueueFull, Unavailable."""
    if len(incoming.body) > _LARGE:
        decoded = await asyncio.to_thread(_decode, incoming.body, is_text=is_text)
    else:
        decoded = _decode(incoming.body, is_text=is_text)
    new = replace(_delivery(live, incoming), payload=decoded.stored)
    try:
        if decoded.fault is not None:
            raise NotMapped(decoded.fault)
        inputs = await inputs_of(parts.control, live, Event(decoded.payload, incoming.headers))
    except NotMapped as error:
        await _confirm(parts, live)
        await record_dead_letter(parts, new, error.message)
        return Delivered(new.id, "failed", error=error)
    if inputs is None:
        await _confirm(parts, live)
        await record(parts.control, replace(new, outcome="unmatched", key=None))
        return Delivered(new.id, "unmatched")
    return await start(parts.control, live, inputs, new, run_id=run_id, sent_at=incoming.sent_at)


async def dead_letter(parts: RegistryParts, live: LiveTrigger, incoming: IncomingMessage, reason: str) -> None:
    """Records a message that was tried too often, without a look into it. Raises Unavailable."""
    text = incoming.body.decode(errors="replace").replace("\0", "")
    stored = _stored(_value_or(text))
    await record_dead_letter(parts, replace(_delivery(live, incoming), payload=stored), reason)


async def record_dead_letter(parts: RegistryParts, new: NewDelivery, reason: str) -> None:
    await record(parts.control, replace(new, outcome="failed", reason=reason, key=None))
    parts.metrics.triggers.dead_letters.labels(new.workflow).inc()


async def record_paused(parts: RegistryParts, live: LiveTrigger, incoming: IncomingMessage) -> UUID:
    new = _delivery(live, incoming)
    await record(parts.control, replace(new, outcome="paused", key=None))
    return new.id


async def _confirm(parts: RegistryParts, live: LiveTrigger) -> None:
    """Raises StaleTrigger if the trigger isn't so any more."""
    try:
        if await parts.triggers.get(live.stored.workflow, live.stored.name) == live.stored:
            return
    except UnknownTrigger:
        pass
    raise StaleTrigger


def _delivery(live: LiveTrigger, incoming: IncomingMessage) -> NewDelivery:
    workflow, trigger = live.stored.workflow, live.stored.name
    return NewDelivery(
        id=new_run_id(),
        workflow=workflow,
        trigger=trigger,
        outcome="started",
        body_size=len(incoming.body),
        digest=hashlib.sha256(incoming.body).digest(),
        sender_id=incoming.sender_id,
        # No name of a workflow has a line break.
        key=f"{workflow}\n{trigger}\n{incoming.own_id}" if incoming.own_id is not None else None,
        headers=dumps(dict(incoming.headers)),
    )


def _decode(body: bytes, *, is_text: bool) -> _Decoded:
    text = body.decode(errors="replace").replace("\0", "")
    if is_text:
        return _Decoded(text, _stored(text), None)
    try:
        payload = event_json(body) if body else None
    except TooManyContainers as error:
        return _Decoded(text, _stored(text), f"the message can't be read: {error}")
    except (ValueError, RecursionError) as error:
        return _Decoded(text, _stored(text), f"the message isn't JSON: {json_fault(error)}")
    return _Decoded(payload, _stored(payload), None)


def _value_or(text: str) -> Any:
    try:
        return event_json(text.encode())
    except (ValueError, RecursionError):
        return text


def _stored(payload: Any) -> str | None:
    stored = dumps(payload)
    return stored if len(stored) <= MOST_KEPT else None


def _headers(message: Message) -> dict[str, str]:
    given = {_storable(name): _storable(value) for name, value in message.headers.items()}
    return given | {_SUBJECT: message.subject}


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", "")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
