"""Retries a failed run: it goes on from its failed step."""

from __future__ import annotations

from uuid import UUID

from flowyard.control.announce import announce
from flowyard.control.parts import Control
from flowyard.runs.run import Run


async def retry_run(control: Control, run_id: UUID) -> Run:
    """Raises UnknownRun, IllegalMove."""
    moved = await control.moves.retry(run_id)
    run = await control.runs.get(run_id)
    announce(moved, control.bus, control.metrics)
    return run
