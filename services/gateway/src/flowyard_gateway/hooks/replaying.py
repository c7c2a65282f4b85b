"""Replays a delivery: what came is mapped by the trigger as it is now, whether the sender's id was seen or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.control.deliver import (
    Delivered,
    LiveTrigger,
    StaleTrigger,
    inputs_of,
    outcome_of,
    record,
    reply_to,
    start_again,
)
from flowyard.control.submit import new_run_id
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import NotMapped, PayloadNotKept, TriggerPaused
from flowyard.language.mapping import Event
from flowyard.runs.deliveries import DeliveryDetail, NewDelivery
from flowyard.storage.database import dumps
from flowyard_gateway.parts import GatewayParts

_TRIES: Final = 10


async def replay(parts: GatewayParts, delivery_id: UUID, *, by: Actor) -> Delivered:
    """Raises UnknownDelivery, UnknownTrigger, InvalidDocument, PayloadNotKept, TriggerPaused, NotMapped, QueueFull.

    An event that doesn't match, or can't be mapped, is recorded, too.
    """
    delivery = await parts.control.deliveries.get(delivery_id)
    if not delivery.has_payload:
        raise PayloadNotKept(str(delivery_id))
    for _ in range(_TRIES):
        stored = await parts.triggers.get(delivery.workflow, delivery.trigger)
        workflow = await parts.control.documents.get(stored.workflow, stored.definition, stored.digest)
        try:
            return await _deliver(parts, LiveTrigger(stored, workflow), delivery, by)
        except StaleTrigger:
            continue
    raise Unavailable("the trigger, which changes all the time,")


async def _deliver(parts: GatewayParts, live: LiveTrigger, delivery: DeliveryDetail, by: Actor) -> Delivered:
    if not live.stored.is_live:
        raise TriggerPaused
    new = _new(delivery)
    if live.stored.kind == "schedule":
        event = Event(fire=delivery.payload)
    else:
        event = Event(delivery.payload, delivery.headers or {}, delivery.query or {})
    try:
        inputs = await inputs_of(parts.control, live, event)
    except NotMapped as error:
        await record(parts.control, replace(new, outcome=outcome_of(error), reason=error.message, status=error.status))
        raise
    if inputs is None:
        await record(parts.control, replace(new, outcome="unmatched", status=200))
        return Delivered(new.id, "unmatched")
    receivers = reply_to(live, delivery.payload, delivery.received_at)
    return await start_again(parts.control, live, inputs, new, run_id=new_run_id(), by=by, receivers=receivers)


def _new(delivery: DeliveryDetail) -> NewDelivery:
    return NewDelivery(
        id=new_run_id(),
        workflow=delivery.workflow,
        trigger=delivery.trigger,
        outcome="started",
        status=202,
        body_size=delivery.body_size,
        digest=delivery.digest,
        replays=delivery.id,
        sender_id=delivery.sender_id,
        address=delivery.address,
        method=delivery.method,
        query=dumps(dict(delivery.query or {})),
        headers=dumps(dict(delivery.headers or {})),
        payload=dumps(delivery.payload),
    )
