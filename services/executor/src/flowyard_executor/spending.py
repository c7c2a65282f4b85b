"""What a claimed run may spend: what is left of its own budget, and of its workflow's day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.graph.journal import Journal
from flowyard.language.workflow import Budget, Workflow
from flowyard.runs.budget import BudgetAccount
from flowyard.runs.claim import Claim
from flowyard.runs.entries import decode_all
from flowyard.runs.events import Event
from flowyard.runs.open_calls import OpenCalls
from flowyard.step_errors import BudgetExceeded
from flowyard.steps.budget_gate import BudgetGate
from flowyard.storage.history import History
from flowyard_executor.parts import ExecutorParts
from flowyard_executor.patience import patiently

PAGE: Final = 5_000


async def open_budget_gate(
    workflow: Workflow, claim: Claim, journal: Journal, parts: ExecutorParts
) -> BudgetGate | None:
    """None: nothing is limited. Tells the calls that were lost with the executors before."""
    day = parts.days.of(claim.workflow)
    if workflow.budget is None and day is None:
        return None

    def refused(error: BudgetExceeded) -> None:
        limit = error.limit if error.per == "run" else f"daily_{error.limit}"
        parts.metrics.runs.budget_refusals.labels(claim.workflow, limit).inc()

    account = await _account(workflow.budget, claim, journal, parts.history) if workflow.budget is not None else None
    return BudgetGate(
        workflow.budget,
        parts.models.terms,
        account=account,
        day=day,
        is_draining=parts.draining.is_set,
        on_refusal=refused,
    )


async def _account(budget: Budget, claim: Claim, journal: Journal, history: History) -> BudgetAccount:
    if claim.epoch == 1:
        return BudgetAccount(budget)
    calls = OpenCalls()
    async for event in every_event(history, claim.run_id):
        calls.add(event)
    for lost in calls.lost():
        journal.emit(lost)
    return BudgetAccount(budget, calls.spent())


async def every_event(history: History, run_id: UUID) -> AsyncIterator[Event]:
    """All events of a run so far, in order."""
    after = 0
    while page := await patiently(partial(history.entries, run_id, after=after, most=PAGE)):
        for stored in decode_all(page):
            yield stored.event
        after = page[-1].seq
