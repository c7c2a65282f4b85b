"""Retries a failed run: it goes on from its failed step."""

from __future__ import annotations

from uuid import UUID

from flowyard.access import Actor
from flowyard.control.announce import announce
from flowyard.control.parts import Control
from flowyard.runs.run import Run


async def retry_run(control: Control, run_id: UUID, *, by: Actor | None = None) -> Run:
    """`by`: for the audit log. Raises UnknownRun, IllegalMove."""
    moved = await control.moves.retry(run_id, by=by)
    run = await control.runs.get(run_id)
    announce(moved, control.bus, control.metrics)
    return run
