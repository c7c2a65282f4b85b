"""Tell the world what has happened to a run, after it was saved."""

from __future__ import annotations

from flowyard.bus.messages import RunControl, RunEvents
from flowyard.control.parts import Control
from flowyard.storage.moves import Moved


def announce_cancel(control: Control, moved: Moved) -> None:
    """To whoever follows the run, or to its executor, who will end it."""
    if moved.entry is None:
        control.bus.publish(RunControl(run_id=moved.run_id, action="cancel"))
        return
    control.metrics.finished.labels(moved.workflow, moved.status).inc()
    announce_events(control, moved)


def announce_events(control: Control, moved: Moved) -> None:
    if moved.entry is not None:
        # No claim, no epoch: nobody has the run now.
        control.bus.publish(RunEvents(run_id=moved.run_id, epoch=0, entries=(*moved.lost, moved.entry)))
