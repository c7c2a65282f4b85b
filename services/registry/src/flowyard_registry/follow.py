"""Starts runs when runs of other workflows end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import replace
from typing import Any, Final, NoReturn

from flowyard.api.runs import FailureView
from flowyard.control.deliver import LiveTrigger, StaleTrigger, inputs_of, record, start
from flowyard.control.submit import new_run_id
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidDocument, QueueFull, TooLarge, UnknownRun, UnknownTrigger
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import NotMapped
from flowyard.language.mapping import Event
from flowyard.large_json import loads
from flowyard.runs.deliveries import MOST_KEPT, NewDelivery
from flowyard.runs.run import Run
from flowyard.storage.database import dumps
from flowyard.storage.run_ends import RunEnd
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

_EVERY_S: Final = 0.5
_LAG_EVERY_S: Final = 5.0
_AT_ONCE: Final = 8
_LEASE_S: Final = 30.0
_PAUSE_S: Final = 2.0
"""If too many runs are queued."""
_MOST_TAKES: Final = 10
"""After so many that recorded nothing, the end is recorded as a failed delivery: it may have killed its process."""
_TRIES: Final = 10


async def follow_runs(parts: RegistryParts) -> NoReturn:
    """Runs until it is cancelled. Several registries share the ends: each is recorded at least once.

    A run is started once: the key of its delivery is the end.
    """
    measured_at = 0.0
    while True:
        try:
            taken = await parts.run_ends.take(_AT_ONCE, lease_s=_LEASE_S)
            await asyncio.gather(*(_follow(parts, end) for end in taken))
            if (now := asyncio.get_running_loop().time()) - measured_at > _LAG_EVERY_S:
                parts.metrics.triggers.lag.labels("workflow").set(await parts.run_ends.lag_s())
                measured_at = now
        except Unavailable as error:
            log.warning("ends of runs start nothing now: %s", error.message)
            taken = []
        if len(taken) < _AT_ONCE:
            await asyncio.sleep(_EVERY_S)


async def _follow(parts: RegistryParts, end: RunEnd) -> None:
    try:
        if end.takes > _MOST_TAKES:
            await _give_up(parts, end)
        else:
            await _deliver_end(parts, end)
        await parts.run_ends.done(end)
    except QueueFull:
        await parts.run_ends.put_back(end, pause_s=_PAUSE_S)
    except Unavailable:
        raise
    except Exception:  # the loop must survive any error; it is tried again when the lease is over
        log.exception("the end of a run could not be followed", extra=_facts(end))


async def _deliver_end(parts: RegistryParts, end: RunEnd) -> None:
    """Records what the end has started, or why not; nothing if no trigger waits for it any more. Raises QueueFull."""
    try:
        run = await parts.control.runs.get(end.run_id)
    except UnknownRun:
        return None
    try:
        payload = await _payload(parts, end, run)
    except TooLarge as error:
        return await record(parts.control, _failed(_delivery(end, _summary(end)), error))
    new = await asyncio.to_thread(_delivery, end, payload) if run.large_outputs else _delivery(end, payload)
    for _ in range(_TRIES):
        try:
            live = await _live(parts, end)
        except InvalidDocument as error:
            return await record(parts.control, _failed(new, error))
        if live is None:
            return None
        try:
            return await _deliver(parts, live, end, replace(new, id=new_run_id()), payload)
        except StaleTrigger:
            continue
    raise Unavailable("the trigger, which changes all the time,")


async def _live(parts: RegistryParts, end: RunEnd) -> LiveTrigger | None:
    """None: the current revision has no such trigger. Raises InvalidDocument."""
    try:
        stored = await parts.triggers.get(end.workflow, end.trigger)
    except UnknownTrigger:
        return None
    if stored.follows != end.of_workflow or end.status not in (stored.ends or ()):
        return None
    return LiveTrigger(stored, await parts.control.documents.get(stored.workflow, stored.definition, stored.digest))


async def _deliver(
    parts: RegistryParts, live: LiveTrigger, end: RunEnd, new: NewDelivery, payload: dict[str, Any]
) -> None:
    depth = (end.depth or 0) + 1
    if not live.stored.is_live:
        return await record(parts.control, replace(new, outcome="paused", key=None))
    if depth > parts.settings.chain_limit:
        reason = f"the ends of {depth} runs in a row would have started the next one: FLOWYARD_CHAIN_LIMIT is"
        log.warning("a chain of runs is too long", extra=_facts(end) | {"depth": depth})
        refused = replace(new, outcome="refused", reason=f"{reason} {parts.settings.chain_limit}", key=None)
        return await record(parts.control, refused)
    try:
        inputs = await inputs_of(parts.control, live, Event(payload))
    except NotMapped as error:
        return await record(parts.control, _failed(new, error))
    if inputs is None:
        return await record(parts.control, replace(new, outcome="unmatched", key=None))
    await start(parts.control, live, inputs, new, run_id=new_run_id(), depth=depth)
    return None


async def _give_up(parts: RegistryParts, end: RunEnd) -> None:
    reason = f"it could not be recorded in {_MOST_TAKES} tries: the logs of the registry say why"
    await record(parts.control, replace(_delivery(end, _summary(end)), outcome="failed", reason=reason, key=None))


async def _payload(parts: RegistryParts, end: RunEnd, run: Run) -> dict[str, Any]:
    """What the texts of a trigger see of the run. Its secret inputs are masked. Raises TooLarge."""
    outputs = dict(run.outputs or {})
    if run.large_outputs:
        whole = await parts.control.runs.large_outputs.value(run.id, None, None)
        outputs = await asyncio.to_thread(loads, whole.decode())
    return {
        "run_id": str(end.run_id),
        "workflow": run.workflow,
        "revision": run.revision,
        "status": end.status,
        "finished_at": end.ended_at.isoformat(),
        "inputs": dict(run.inputs),
        "outputs": outputs,
        "error": FailureView.of(end.error).model_dump(mode="json") if end.error is not None else None,
    }


def _delivery(end: RunEnd, payload: dict[str, Any]) -> NewDelivery:
    text = dumps(payload)  # in ASCII
    return NewDelivery(
        id=new_run_id(),
        workflow=end.workflow,
        trigger=end.trigger,
        outcome="started",
        body_size=len(text),
        digest=hashlib.sha256(text.encode()).digest(),
        sender_id=str(end.run_id),
        key=f"{end.workflow}\n{end.trigger}\nrun:{end.run_id}:{end.seq}",
        payload=text if len(text) <= MOST_KEPT else None,
    )


def _summary(end: RunEnd) -> dict[str, Any]:
    return {"run_id": str(end.run_id), "workflow": end.of_workflow, "status": end.status}


def _failed(new: NewDelivery, error: FlowyardError) -> NewDelivery:
    return replace(new, outcome="failed", reason=error.message, key=None)


def _facts(end: RunEnd) -> dict[str, str]:
    return {"workflow": end.workflow, "trigger": end.trigger, "run_id": str(end.run_id)}
