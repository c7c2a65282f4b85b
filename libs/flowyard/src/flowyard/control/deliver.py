"""Makes a run of what came for a trigger, or records why not. For every kind of trigger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.chats.platforms import PLATFORMS
from flowyard.chats.slack import is_of_a_bot
from flowyard.control.parts import Control
from flowyard.control.secret_inputs import new_inputs
from flowyard.control.submit import announce, check_size
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, InvalidRequest, TooLarge
from flowyard.errors.steps import EvaluationError
from flowyard.errors.webhooks import NotMapped, TriggerPaused, Unverified
from flowyard.language.mapping import Event, map_event
from flowyard.language.on_finish import Receiver
from flowyard.language.replies import ChatReply
from flowyard.language.triggers import Trigger
from flowyard.language.workflow import Workflow
from flowyard.large_json import is_light
from flowyard.runs.deliveries import NewDelivery, Outcome
from flowyard.runs.run import NewRun
from flowyard.storage.triggers import StoredTrigger

_PER_VALUE: Final = 4
"""An event is read, copied, checked and encoded: that takes so many times as long as to encode it."""
_LONGEST_REASON: Final = 1000


@dataclass(frozen=True, slots=True)
class LiveTrigger:
    """A trigger as it is stored, and what its document says."""

    stored: StoredTrigger
    workflow: Workflow

    @property
    def trigger(self) -> Trigger:
        return self.workflow.triggers[self.stored.name]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a delivery. `run_id`: that it has started, or that the first of its copies has started.

    `error`: why it has failed.
    """

    id: UUID
    outcome: Outcome
    run_id: UUID | None = None
    error: NotMapped | None = None


class StaleTrigger(Exception):
    """The trigger has changed since it was read, or is gone: it has to be read again."""


async def inputs_of(control: Control, live: LiveTrigger, event: Event) -> dict[str, Any] | None:
    """The inputs of the run that the event would start; None if it would start none. Raises NotMapped."""
    if is_light([event.payload], times=_PER_VALUE):
        return _inputs_of(control.inputs_limit, live, event)
    return await asyncio.to_thread(_inputs_of, control.inputs_limit, live, event)


def _inputs_of(limit: int, live: LiveTrigger, event: Event) -> dict[str, Any] | None:
    reply = live.trigger.reply
    if reply is not None and reply.chat == "slack" and is_of_a_bot(event.payload):
        return None
    try:
        mapped = map_event(live.trigger, event)
        if mapped is None:
            return None
        inputs = new_inputs(live.workflow, mapped)
        check_size(inputs, "the inputs", limit)
    except (EvaluationError, InvalidInputs, TooLarge) as error:
        raise NotMapped(error.message[:_LONGEST_REASON]) from error
    return inputs


def reply_to(live: LiveTrigger, payload: Any, at: datetime) -> tuple[Receiver, ...]:
    """The chat that gets the result; nothing if the document wants no reply, or the event comes from no chat.

    `at`: when the event came.
    """
    reply = live.trigger.reply
    target = PLATFORMS[reply.chat].target(payload) if reply is not None else None
    return (Receiver.chat(ChatReply(reply, target, at)),) if reply is not None and target is not None else ()


async def start(
    control: Control,
    live: LiveTrigger,
    inputs: Mapping[str, Any],
    delivery: NewDelivery,
    *,
    run_id: UUID,
    depth: int = 0,
    sent_at: datetime | None = None,
    receivers: tuple[Receiver, ...] = (),
) -> Delivered:
    """Stores the delivery with its run, or as a copy of another one. Raises StaleTrigger, QueueFull.

    When it returns, they are on disk. `depth`: of the run, in a chain of runs that start each other.
    `receivers`: of its end, besides those of the document. `sent_at`: of an event that may come late.
    """
    run = _run(live, inputs, run_id, depth, receivers)
    started = replace(delivery, outcome="started", run_id=run_id)
    async with control.queue.room():
        first = await control.deliveries.start(started, run, sent_at=sent_at)
    if first is None:
        raise StaleTrigger
    if first.id == delivery.id:
        return _started(control, run, delivery)
    control.metrics.runs.deliveries.labels(delivery.workflow, "repeated").inc()
    return Delivered(delivery.id, "repeated", first.run_id)


async def start_again(
    control: Control,
    live: LiveTrigger,
    inputs: Mapping[str, Any],
    delivery: NewDelivery,
    *,
    run_id: UUID,
    by: Actor,
    receivers: tuple[Receiver, ...] = (),
) -> Delivered:
    """As `start`, for a delivery that somebody replays: it is no copy of another one."""
    run = _run(live, inputs, run_id, 0, receivers)
    async with control.queue.room():
        if not await control.deliveries.replay(replace(delivery, outcome="started", run_id=run_id), run, by=by):
            raise StaleTrigger
    return _started(control, run, delivery)


def _started(control: Control, run: NewRun, delivery: NewDelivery) -> Delivered:
    announce(control, run)
    control.metrics.runs.deliveries.labels(delivery.workflow, "started").inc()
    return Delivered(delivery.id, "started", run.id)


def _run(
    live: LiveTrigger, inputs: Mapping[str, Any], run_id: UUID, depth: int, receivers: tuple[Receiver, ...]
) -> NewRun:
    execution = live.workflow.execution
    return NewRun(
        id=run_id,
        workflow=live.stored.workflow,
        revision=live.stored.revision,
        definition=live.stored.definition,
        inputs=inputs,
        priority=execution.priority,
        max_attempts=execution.max_attempts,
        timeout_s=execution.timeout,
        depth=depth,
        on_finish=(*live.workflow.on_finish, *receivers),
    )


async def record(control: Control, delivery: NewDelivery) -> None:
    """A delivery that has started nothing."""
    await control.deliveries.add(delivery)
    control.metrics.runs.deliveries.labels(delivery.workflow, delivery.outcome).inc()


def outcome_of(error: FlowyardError) -> Outcome:
    """What is recorded of a delivery that this error has kept from starting a run."""
    match error:
        case TriggerPaused():
            return "paused"
        case NotMapped() | InvalidRequest():
            return "failed"
        case Unverified():
            return "unverified"
        case _:
            return "refused"
