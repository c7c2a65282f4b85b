"""Deletes a workflow; cancels runs whose workflow is deleted, and removes agents that are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NoReturn

from flowyard.access import Actor
from flowyard.api.workflows import Deleted
from flowyard.bus.messages import WorkflowChanged
from flowyard.control.announce import announce
from flowyard.errors.services import Unavailable
from flowyard.storage.moves import Moved
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)


async def delete_workflow(parts: RegistryParts, name: str, *, force: bool, by: Actor) -> Deleted:
    """Raises UnknownWorkflow, WorkflowInUse."""
    moved = await parts.workflows.delete(name, force=force, by=by)
    parts.bus.publish(WorkflowChanged(name=name))
    log.info("workflow deleted", extra={"workflow": name, "open_runs": len(moved)})
    _announce(parts, moved)
    ended = [move.run_id for move in moved if move.entry is not None]
    return Deleted(name=name, cancelled=ended, cancelling=[move.run_id for move in moved if move.entry is None])


async def sweep(parts: RegistryParts) -> NoReturn:
    """Removes agents without heartbeats and cancels runs without a workflow, until this task is cancelled."""
    while True:
        await asyncio.sleep(parts.settings.sweep_s)
        try:
            for agent in await parts.agents.sweep():
                log.info("agent removed: no heartbeat", extra={"agent": agent})
            _announce(parts, await parts.workflows.cancel_abandoned())
            await parts.fires.give_up()
        except Unavailable as error:
            log.warning("sweep failed: %s", error.message)


def _announce(parts: RegistryParts, moved: Sequence[Moved]) -> None:
    for move in moved:
        facts = {"run_id": str(move.run_id), "workflow": move.workflow}
        outcome = "run cancelled" if move.entry is not None else "cancellation requested"
        log.info("%s: the workflow was deleted", outcome, extra=facts)
        announce(move, parts.bus, parts.metrics)
