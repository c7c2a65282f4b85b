"""Deletes a workflow, and cancels runs whose workflow is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NoReturn

from flowyard.api.workflows import Deleted
from flowyard.bus.messages import WorkflowChanged
from flowyard.control.announce import announce
from flowyard.errors.services import Unavailable
from flowyard.storage.moves import Moved
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)


async def delete_workflow(parts: RegistryParts, name: str, *, force: bool) -> Deleted:
    """Raises UnknownWorkflow, WorkflowInUse."""
    moved = await parts.workflows.delete(name, force=force)
    parts.bus.publish(WorkflowChanged(name=name))
    log.info("workflow deleted", extra={"workflow": name, "open_runs": len(moved)})
    _announce(parts, moved)
    ended = [run.run_id for run in moved if run.entry is not None]
    return Deleted(name=name, cancelled=ended, cancelling=[run.run_id for run in moved if run.entry is None])


async def sweep(parts: RegistryParts) -> NoReturn:
    """Deletes agents that are gone and cancels runs whose workflow was deleted, until it is cancelled itself."""
    while True:
        await asyncio.sleep(parts.settings.sweep_s)
        try:
            for agent in await parts.agents.sweep():
                log.info("agent gone", extra={"agent": agent})
            _announce(parts, await parts.workflows.cancel_abandoned())
        except Unavailable as error:
            log.warning("sweep failed: %s", error.message)


def _announce(parts: RegistryParts, moved: Sequence[Moved]) -> None:
    for run in moved:
        log.info("run cancelled: its workflow is gone", extra={"run_id": str(run.run_id), "workflow": run.workflow})
        announce(run, parts.bus, parts.metrics)
