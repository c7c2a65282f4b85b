"""Starts the runs of schedules. Several registries do so at once: the row of a fire decides who starts its run.

No clock of a registry is read: what is due follows from the time of the database.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from flowyard.bus.messages import WorkQueued
from flowyard.control.announce import announce
from flowyard.errors.requests import InvalidDocument
from flowyard.errors.services import Unavailable
from flowyard.storage.triggers import StoredTrigger
from flowyard_registry.fire import FiredSchedule, fire_schedule
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

_MOST: Final = 40
"""Schedules that are looked at in one round: few, so that registries seldom choose the same ones."""
_AT_ONCE: Final = 4
"""Transactions: other work of the registry needs connections, too."""
_LONGEST_WAIT_S: Final = 1.0
"""A schedule that was just applied, or resumed, is found after this time."""
_SHORTEST_WAIT_S: Final = 0.02
_POSTPONED_S: Final = 60.0


async def fire_schedules(parts: RegistryParts) -> NoReturn:
    """Fires what is due, until this task is cancelled."""
    while True:
        try:
            wait_s = await fire_round(parts)
        except Unavailable as error:
            log.warning("schedules wait: %s", error.message)
            wait_s = _LONGEST_WAIT_S
        await asyncio.sleep(wait_s)


async def fire_round(parts: RegistryParts) -> float:
    """Seconds until the next one. Raises Unavailable."""
    due = await parts.fires.due(_MOST)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def fire(trigger: StoredTrigger) -> None:
        async with slots:
            await _fire(parts, trigger)

    results = await asyncio.gather(*map(fire, due), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    outlook = await parts.fires.outlook()
    parts.metrics.schedules.overdue.set(outlook.late_s)
    wait_s = _LONGEST_WAIT_S if outlook.wait_s is None else outlook.wait_s
    return min(_LONGEST_WAIT_S, max(_SHORTEST_WAIT_S, wait_s))


async def _fire(parts: RegistryParts, trigger: StoredTrigger) -> None:
    try:
        fired = await fire_schedule(parts, trigger)
    except InvalidDocument as error:
        facts = {"workflow": trigger.workflow, "trigger": trigger.name, "problem": error.message}
        log.warning("a schedule can't fire: this version refuses its document", extra=facts)
        await parts.fires.postpone(trigger, _POSTPONED_S)
        return
    if fired is not None:
        _announce(parts, trigger, fired)


def _announce(parts: RegistryParts, trigger: StoredTrigger, fired: FiredSchedule) -> None:
    metrics = parts.metrics
    for moved in fired.cancelled:
        announce(moved, parts.bus, metrics)
    for lag_s in fired.lags_s:
        metrics.schedules.lag.observe(lag_s)
    for row in fired.rows:
        metrics.schedules.fires.labels(trigger.workflow, row.outcome).inc()
        facts = {"workflow": trigger.workflow, "trigger": trigger.name, "fire_at": row.at.isoformat()}
        if row.outcome == "started":
            metrics.runs.submitted.labels(trigger.workflow).inc()
            log.info("schedule fired", extra=facts | {"run_id": str(row.run_id)})
        else:
            log.info("fire %s", row.outcome, extra=facts | {"reason": row.reason or ""})
    if any(row.outcome == "started" for row in fired.rows):
        parts.bus.publish(WorkQueued())
