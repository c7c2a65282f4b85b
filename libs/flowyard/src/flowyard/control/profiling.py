"""Profiles of runs, from what is stored of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from flowyard.runs.entries import decode_all
from flowyard.runs.profile import Profile, profile_of
from flowyard.runs.profiles import ProfiledRun
from flowyard.runs.run import Entry, Run
from flowyard.storage.profiles import Profiles

_MANY: Final = 1000
"""With so many events a profile is computed in a thread, so that other requests needn't wait."""


async def profile_run(profiles: Profiles, run: Run, now: datetime) -> Profile:
    """Up to its end, or up to `now` if it is open."""
    return await _profile(await profiles.entries(run.id), run.created_at, run.finished_at or now)


async def profile_runs(
    profiles: Profiles, *, workflows: Collection[str] | None, since: datetime | None, most: int
) -> list[ProfiledRun]:
    """Those of the newest runs that have finished and that an executor has had; made at `since`, or later.

    `workflows`: only runs of these; None: of all.
    """
    profiles_of_runs: list[ProfiledRun] = []
    for run in await profiles.finished(workflows=workflows, since=since, most=most):
        entries = await profiles.entries(run.id)
        # A run that was deleted meanwhile has no events any more.
        if entries:
            profile = await _profile(entries, run.created_at, run.finished_at)
            profiles_of_runs.append(
                ProfiledRun(run.id, run.workflow, run.status, run.created_at, run.finished_at, profile)
            )
    return profiles_of_runs


async def _profile(entries: Sequence[Entry], created_at: datetime, ended_at: datetime) -> Profile:
    events = decode_all(entries)
    if len(entries) < _MANY:
        return profile_of(events, created_at, ended_at)
    return await asyncio.to_thread(profile_of, events, created_at, ended_at)
