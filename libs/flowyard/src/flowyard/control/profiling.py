"""Profiles of runs, from what is stored of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowyard.runs.profile import Profile, profile_of
from flowyard.runs.profiles import ProfiledRun
from flowyard.runs.run import Entry, Run
from flowyard.storage.history import History
from flowyard.storage.profiles import FinishedRun, Profiles

_ENTRIES: Final = 5000
_AT_ONCE: Final = 20
"""Runs whose events are held in memory together: they hold what models replied."""


async def profile_run(history: History, run: Run, now: datetime) -> Profile:
    """Up to its end, or up to `now` if it is open."""
    told: list[Entry] = []
    while more := await history.entries(run.id, after=told[-1].seq if told else 0, most=_ENTRIES):
        told += more
    return profile_of(told, run.created_at, run.finished_at or now)


async def profile_runs(
    profiles: Profiles, *, workflow: str | None, since: datetime | None, most: int
) -> list[ProfiledRun]:
    """Those of the newest runs that have finished and that an executor has had; made at `since`, or later."""
    runs = await profiles.finished(workflow=workflow, since=since, most=most)
    found: list[ProfiledRun] = []
    for first in range(0, len(runs), _AT_ONCE):
        found += await _some(profiles, runs[first : first + _AT_ONCE])
        await asyncio.sleep(0)
    return found


async def _some(profiles: Profiles, runs: Sequence[FinishedRun]) -> list[ProfiledRun]:
    told = await profiles.entries([run.id for run in runs])
    return [
        ProfiledRun(
            run.id,
            run.workflow,
            run.status,
            run.created_at,
            run.finished_at,
            profile_of(told[run.id], run.created_at, run.finished_at),
        )
        for run in runs
        # One that was deleted meanwhile has no events any more.
        if told[run.id]
    ]
