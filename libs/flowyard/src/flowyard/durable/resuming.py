"""What a claim resumes from: the stored steps of its run, and what earlier claims spent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.durable.patience import patiently
from flowyard.runs.budget import Amount
from flowyard.runs.claim import Claim
from flowyard.runs.entries import decode_all
from flowyard.runs.events import Event, StepId
from flowyard.runs.open_calls import OpenCalls
from flowyard.runs.run import CallStart, Step, StepCalls
from flowyard.storage.history import History

PAGE: Final = 5_000
"""Events that are read at a time."""


async def recorded_steps(history: History, claim: Claim) -> dict[StepId, Step]:
    """What is stored of the run's steps, decisions and maps."""
    if not claim.has_steps:
        return {}
    steps = await patiently(lambda: history.record(claim.run_id))
    # A step that a retry executes again begins with its first try.
    return {s.id: replace(s, tries=1, error=None, handled=None) if s.status == "retrying" else s for s in steps}


async def calls_of_open_steps(
    history: History, claim: Claim, recorded: Mapping[StepId, Step]
) -> dict[StepId, StepCalls]:
    """The model calls under earlier claims of the steps that haven't ended."""
    steps = [step.id for step in recorded.values() if step.kind == "step" and not step.has_ended]
    if not steps or claim.epoch == 1:
        return {}
    calls: dict[StepId, StepCalls] = {}
    for row in await patiently(lambda: history.calls_of(claim.run_id, steps)):
        spending = calls.get(row.step, StepCalls()).spending.with_call(
            tokens_in=row.tokens_in, tokens_out=row.tokens_out, cost_usd=row.cost_usd
        )
        start = CallStart(row.step, row.part, row.round, row.question, row.provider, row.model)
        calls[row.step] = StepCalls(spending, start, was_answered=row.status in ("done", "failed"))
    return calls


async def spent_before(history: History, claim: Claim) -> Amount:
    """What the calls under earlier claims came to of the run's budget, at most."""
    if claim.epoch == 1:
        return Amount()
    if claim.engine == 0:
        # Executors of the release before recorded what was reserved in events alone.
        calls = OpenCalls()
        async for event in _events(history, claim.run_id):
            calls.add(event)
        return calls.spent()
    return claim.spent if claim.spent is not None else await patiently(lambda: history.spent(claim.run_id))


async def _events(history: History, run_id: UUID) -> AsyncIterator[Event]:
    """The events of a run so far, in order."""
    after = 0
    while page := await patiently(partial(history.entries, run_id, after=after, most=PAGE)):
        for stored in decode_all(page):
            yield stored.event
        after = page[-1].seq
