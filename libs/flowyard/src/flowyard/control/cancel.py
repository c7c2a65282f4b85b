"""Cancel runs: at once where nobody is at work on them, else by their executors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from flowyard.control.announce import announce
from flowyard.control.parts import Control
from flowyard.errors.requests import IllegalMove, UnknownRun
from flowyard.runs.run import OPEN, Run
from flowyard.storage.runs import RunFilter

MOST: Final = 500
"""How many runs one call looks at."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`run_ids`: cancelled now, or soon. `skipped`: error codes by run. `more`: go on before this run; None: done."""

    run_ids: tuple[UUID, ...]
    skipped: dict[UUID, str]
    more: UUID | None


async def cancel_run(control: Control, run_id: UUID) -> Run:
    """The run as it is then: cancelled, or still open with `cancel_requested`. Raises UnknownRun, IllegalMove."""
    announce(await control.moves.cancel(run_id), control.bus, control.metrics)
    return await control.runs.get(run_id)


async def cancel_runs(control: Control, wanted: RunFilter, *, ids: Collection[UUID] | None = None) -> Cancelled:
    """All open runs that fit, at most MOST of them, newest first; of `ids` alone where they are given."""
    if ids is not None:
        return await _cancel(control, list(ids), more=None)
    statuses = frozenset(wanted.statuses) & OPEN if wanted.statuses else OPEN
    found = await control.runs.ids(replace(wanted, statuses=statuses), MOST)
    return await _cancel(control, found, more=found[-1] if len(found) == MOST else None)


async def _cancel(control: Control, ids: Collection[UUID], *, more: UUID | None) -> Cancelled:
    done: list[UUID] = []
    skipped: dict[UUID, str] = {}
    # One after the other: it is one transaction each, and others need the database too.
    for run_id in dict.fromkeys(ids):
        try:
            announce(await control.moves.cancel(run_id), control.bus, control.metrics)
        except (IllegalMove, UnknownRun) as error:
            skipped[run_id] = error.code
        else:
            done.append(run_id)
    return Cancelled(tuple(done), skipped, more)
