"""What a claim resumes from: the stored steps of its run, and what earlier claims spent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.durable.patience import patiently
from flowyard.language.workflow import Workflow
from flowyard.runs.budget import Amount
from flowyard.runs.claim import Claim
from flowyard.runs.entries import decode_all
from flowyard.runs.events import Event, ModelCalled, StepId
from flowyard.runs.open_calls import OpenCalls
from flowyard.runs.run import Spending, Step
from flowyard.storage.history import History
from flowyard.storage.rows import CallRow

PAGE: Final = 5_000
"""Events that are read at a time."""


@dataclass(frozen=True, slots=True)
class EarlierCalls:
    """The model calls of a run under earlier claims.

    `by_step`: what the calls of each step used. `lost`: those in flight when the executor died, which aren't in the
    ledger yet. `amount`: what all calls together cost of the run's budget, at most.
    """

    by_step: dict[StepId, Spending] = field(default_factory=dict)
    lost: list[ModelCalled] = field(default_factory=list)
    amount: Amount = field(default_factory=Amount)


async def recorded_steps(history: History, claim: Claim) -> dict[StepId, Step]:
    """What is stored of the run's steps, decisions and maps."""
    if not claim.has_steps:
        return {}
    steps = await patiently(lambda: history.record(claim.run_id))
    # A step that a retry executes again begins with its first try.
    return {s.id: replace(s, tries=1, error=None, handled=None) if s.status == "retrying" else s for s in steps}


async def earlier_calls(
    history: History, claim: Claim, workflow: Workflow, recorded: Mapping[StepId, Step]
) -> EarlierCalls:
    if claim.epoch == 1:
        return EarlierCalls()
    calls = OpenCalls()
    after = _before_open_steps(claim, recorded)
    if workflow.budget is not None:
        after = 0  # the budget needs the sum of all calls, of which the reserved amounts are in the events
    if after is not None:
        async for event in _events_after(history, claim.run_id, after):
            calls.add(event)
    lost = calls.lost()
    ledger = await patiently(lambda: history.calls(claim.run_id))
    return EarlierCalls(_by_step([*ledger, *lost]), lost, calls.spent())


def _by_step(calls: Iterable[CallRow | ModelCalled]) -> dict[StepId, Spending]:
    spent: dict[StepId, Spending] = {}
    for call in calls:
        spent[call.step] = spent.get(call.step, Spending()).with_call(
            tokens_in=call.tokens_in, tokens_out=call.tokens_out, cost_usd=call.cost_usd
        )
    return spent


def _before_open_steps(claim: Claim, recorded: Mapping[StepId, Step]) -> int | None:
    """The number of the last event before all steps that were at work when an executor was lost; None: none was."""
    if claim.attempt == 1:
        return None
    if claim.engine == 0:
        return 0
    begun = [step.start_seq for step in recorded.values() if not step.has_ended and step.start_seq is not None]
    return min(begun) - 1 if begun else None


async def _events_after(history: History, run_id: UUID, after: int) -> AsyncIterator[Event]:
    """The events of a run so far with greater numbers, in order."""
    while page := await patiently(partial(history.entries, run_id, after=after, most=PAGE)):
        for stored in decode_all(page):
            yield stored.event
        after = page[-1].seq
