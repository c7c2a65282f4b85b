"""What a claim resumes from: the stored steps of its run, and what earlier claims spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.durable.patience import patiently
from flowyard.graph.marking import Marking
from flowyard.graph.run import Pages
from flowyard.graph.snapshot import restore, snapshot_of
from flowyard.graph.walk import Walk
from flowyard.large_json import encoded, out_of_the_loop
from flowyard.runs.budget import Amount
from flowyard.runs.claim import Claim
from flowyard.runs.entries import decode_all
from flowyard.runs.events import Event
from flowyard.runs.open_calls import OpenCalls
from flowyard.runs.run import CallStart, Step, StepCalls
from flowyard.storage.history import History

PAGE: Final = 5_000
"""Most events that are read at a time."""
MOST_BEHIND: Final = 100
"""With more rows than this since its last snapshot, or its beginning, a run is always handed back with a new one."""
BYTES_PER_ROW: Final = 500
"""With fewer rows, a snapshot is stored only if it has at most this many bytes per row that it replaces."""


async def open_steps(history: History, claim: Claim) -> list[tuple[Step, StepCalls]]:
    """The steps and maps of the run that have begun and not ended, with the calls of each under earlier claims."""
    if not claim.has_steps:
        return []
    steps = await patiently(lambda: history.open_steps(claim.run_id))
    return [(_begun_again(step) if step.status == "retrying" else step, calls) for step, calls in steps]


def _begun_again(step: Step) -> Step:
    """A step that a retry executes again begins with its first try."""
    return step._replace(tries=1, error=None, handled=None)


async def ended_steps(
    history: History, claim: Claim, marking: Marking, *, at_once: asyncio.Semaphore, on_page: Callable[[int], None]
) -> Pages:
    """Moves `marking` to the run's snapshot, and returns the rows that ended after it.

    `at_once`: how many runs may be replayed at a time. `on_page` is called with the number of rows.
    """
    if not claim.has_steps:
        return
    async with at_once:
        snapshot, pages = await patiently(lambda: history.snapshot(claim.run_id, claim.engine))
        if snapshot is not None and not await out_of_the_loop(lambda: restore(marking, snapshot), snapshot):
            _, pages = await patiently(lambda: history.snapshot(claim.run_id, None))
        for page in pages:
            rows = await patiently(partial(history.ended, claim.run_id, *page))
            on_page(len(rows))
            yield rows


async def new_snapshot(walk: Walk, claim: Claim, settled: int) -> str | None:
    """A snapshot as JSON; None if the next replay is short without it. `settled`: rows that this claim has added."""
    behind = walk.replayed + settled
    if claim.engine == 0 or not walk.is_replayed or walk.failed or behind == 0:
        return None
    # Without one, too, the run goes on, only later.
    with suppress(TypeError, ValueError, RecursionError):
        snapshot = await encoded(snapshot_of(walk.marking))
        if behind > MOST_BEHIND or len(snapshot) <= behind * BYTES_PER_ROW:
            return snapshot
    return None


def lost_calls(open_steps: Iterable[tuple[Step, StepCalls]]) -> list[CallStart]:
    """The open calls of a lost executor, which a sweep of an earlier release has left without an end."""
    return [calls.last for _, calls in open_steps if calls.is_open and calls.last is not None]


async def spent_before(history: History, claim: Claim, *, has_lost_calls: bool) -> Amount:
    """The most that the calls under earlier claims have used of the run's budget."""
    if claim.epoch == 1:
        return Amount()
    if claim.engine == 0:
        # Executors of the release before recorded what was reserved in events alone.
        calls = OpenCalls()
        async for event in _events(history, claim.run_id):
            calls.add(event)
        return calls.spent()
    if claim.spent is not None and not has_lost_calls:
        return claim.spent
    return await patiently(lambda: history.spent(claim.run_id))


async def _events(history: History, run_id: UUID) -> AsyncIterator[Event]:
    """The events of a run so far, in order."""
    after = 0
    while page := await patiently(partial(history.entries, run_id, after=after, most=PAGE)):
        for stored in decode_all(page):
            yield stored.event
        after = page[-1].seq
