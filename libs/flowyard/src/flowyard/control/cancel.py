"""Cancels runs: at once if no executor has them, else by their executors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.control.announce import announce
from flowyard.control.parts import Control
from flowyard.errors.requests import IllegalMove, UnknownRun
from flowyard.runs.run import OPEN, Run
from flowyard.storage.run_lists import RunFilter

MOST: Final = 500
"""How many runs one call looks at."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`run_ids`: cancelled, or about to be. `skipped`: error codes by run. `more`: continue before it; None: done."""

    run_ids: tuple[UUID, ...]
    skipped: dict[UUID, str]
    more: UUID | None


async def cancel_run(control: Control, run_id: UUID, *, by: Actor | None = None) -> Run:
    """Returns the run: cancelled, or still open with `cancel_requested`. `by`: for the audit log.

    Raises UnknownRun, IllegalMove.
    """
    announce(await control.moves.cancel(run_id, by=by), control.bus, control.metrics)
    return await control.runs.get(run_id)


async def cancel_runs(
    control: Control, wanted: RunFilter, *, ids: Collection[UUID] | None = None, by: Actor | None = None
) -> Cancelled:
    """Cancels the newest MOST open runs that match `wanted`; with `ids`, exactly those runs, if they are of
    `wanted.workflows`.
    """
    if ids is not None:
        return await _cancel(control, list(ids), wanted.workflows, by, more=None)
    statuses = frozenset(wanted.statuses) & OPEN if wanted.statuses else OPEN
    run_ids = await control.runs.ids(replace(wanted, statuses=statuses), MOST)
    return await _cancel(control, run_ids, None, by, more=run_ids[-1] if len(run_ids) == MOST else None)


async def _cancel(
    control: Control, ids: Collection[UUID], workflows: Collection[str] | None, by: Actor | None, *, more: UUID | None
) -> Cancelled:
    done: list[UUID] = []
    skipped: dict[UUID, str] = {}
    # One after the other: it is one transaction each, and others need the database too.
    for run_id in dict.fromkeys(ids):
        try:
            if workflows is not None and await control.runs.workflow_of(run_id) not in workflows:
                raise UnknownRun(str(run_id))
            announce(await control.moves.cancel(run_id, by=by), control.bus, control.metrics)
        except (IllegalMove, UnknownRun) as error:
            skipped[run_id] = error.code
        else:
            done.append(run_id)
    return Cancelled(tuple(done), skipped, more)
