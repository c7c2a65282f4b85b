"""Prepares models before runs need them: otherwise the first run would wait for seconds while LiteLLM is loaded."""

from __future__ import annotations

import gc
import logging
import time
from typing import Final, NoReturn

from flowyard.bus import subjects
from flowyard.bus.doorbell import doorbell
from flowyard.bus.messages import WorkflowChanged
from flowyard.durable.patience import patiently
from flowyard.errors.base import FlowyardError
from flowyard_executor.parts import ExecutorParts

log = logging.getLogger(__name__)

MOST_READ: Final = 20
"""So many workflows, those applied last: parsing documents takes time. For others the first run waits."""
_POLL_S: Final = 60.0


async def warm_up(parts: ExecutorParts) -> NoReturn:
    """At the start, and whenever a workflow has changed. It only saves time: runs report what fails."""
    known: set[str] = set()
    ready: set[str] = set()
    async with doorbell(parts.bus, subjects.WORKFLOWS_CHANGED, WorkflowChanged, poll_s=_POLL_S) as bell:
        while True:
            newest = await patiently(lambda: parts.workflows.recent(MOST_READ))
            for workflow in newest:
                if workflow.digest not in known:
                    await _warm_up_for(workflow.name, ready, parts)
            known = {workflow.digest for workflow in newest}
            log.debug("prepared models in advance", extra={"workflows": len(newest), "providers": sorted(ready)})
            # Not before the first round: without NATS the bell doesn't ring.
            await bell.wait()


async def _warm_up_for(name: str, ready: set[str], parts: ExecutorParts) -> None:
    try:
        workflow = (await patiently(lambda: parts.documents.current(name))).workflow
        for settings in parts.models.preparable(workflow.models):
            if settings.provider not in ready:
                log.debug("preparing a provider", extra={"provider": settings.provider, "workflow": name})
                started = time.perf_counter()
                await parts.models.prepare([settings])
                ready.add(settings.provider)
                # As at the start of a service: LiteLLM is large, and stays.
                gc.freeze()
                took = round(time.perf_counter() - started, 3)
                log.info("provider prepared", extra={"provider": settings.provider, "duration_s": took})
    except FlowyardError as error:
        log.info("can't prepare a workflow", extra={"workflow": name, "code": error.code})
    except Exception:
        # A worker's loop: what is wrong with an installation is reported by the run that needs it.
        log.info("can't prepare a workflow", extra={"workflow": name}, exc_info=True)
