"""Announces a run that others than its executor have moved: on the bus and in the metrics."""

from __future__ import annotations

import asyncio

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunControl, RunEvents, WorkQueued
from flowyard.runs.run import OPEN
from flowyard.storage.moves import Moved
from flowyard.telemetry.metrics import Metrics


class WorkBell:
    """Announces that there is work: once for all runs that are queued in the same moment. One per process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._is_due = False

    def ring(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._is_due = False
        self._bus.publish(WorkQueued())


def announce(moved: Moved, bus: Bus, metrics: Metrics) -> None:
    """To be called once, after the move was committed."""
    if moved.entry is None:
        # Its executor is alive, and will end it.
        bus.publish(RunControl(run_id=moved.run_id, action="cancel"))
        return
    metrics.models.count(moved.lost)
    bus.publish(RunEvents(run_id=moved.run_id, last_seq=moved.entry.seq, has_moved=True))
    if moved.status == "queued":
        bus.publish(WorkQueued())
    elif moved.status not in OPEN:
        # An executor that still works on the run needn't wait for its next renewal.
        bus.publish(RunControl(run_id=moved.run_id, action="cancel"))
        metrics.runs.finished.labels(moved.workflow, moved.status).inc()
        if (error := moved.entry.data.get("error")) is not None:
            metrics.runs.failures.labels(moved.workflow, error["code"]).inc()
