"""What workflows may spend per day: each call is reserved in Postgres, where all executors see it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

from flowyard.durable.patience import patiently
from flowyard.language.daily_budgets import daily_budget
from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount, excess
from flowyard.steps.budget_gate import DailyLimit, Draining, IsDraining, Settle, refusal
from flowyard.storage.budgets import DailySpending

_OTHERS_S: Final = 0.25
"""Seconds between two checks of what other executors have settled."""


class DailyBudgets:
    """The daily budgets of all workflows, for the runs of this process."""

    def __init__(self, spending: DailySpending, budgets: Mapping[str, Budget]) -> None:
        self._spending = spending
        self._budgets = budgets
        self._by_workflow: dict[str, _WorkflowBudget] = {}

    def of(self, workflow: str) -> DailyLimit | None:
        """None if the workflow has no daily budget."""
        limits = daily_budget(self._budgets, workflow)
        if limits is None:
            return None
        budget = self._by_workflow.setdefault(workflow, _WorkflowBudget(workflow, limits, self._spending))
        return DailyLimit(limits, budget.reserve)

    async def begin(self) -> None:
        """Before the first call of this process."""
        await patiently(self._spending.begin)

    async def settled(self, *, within_s: float) -> None:
        """Returns when all ended calls are settled, or after `within_s`: the others stay counted as reserved."""
        settling = [task for budget in self._by_workflow.values() for task in budget.settling]
        if settling:
            await asyncio.wait(settling, timeout=within_s)


class _WorkflowBudget:
    """The daily budget of one workflow. Reservations are made one after the other."""

    def __init__(self, workflow: str, limits: Budget, spending: DailySpending) -> None:
        self.settling: set[asyncio.Task[None]] = set()
        self._workflow = workflow
        self._limits = limits
        self._spending = spending
        self._in_flight = 0
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, amount: Amount, is_draining: IsDraining) -> Settle:
        """Waits while calls in flight, of this process or another one, may still cost less than they reserved.

        Raises BudgetExceeded; Draining, but only once those calls are settled: until then the executor that takes over
        the run would be refused because of what they have reserved.
        """
        async with self._turn:
            while True:
                settled = self._settled
                reservation = await self._try(amount) if not is_draining() else None
                if reservation is not None:
                    break
                if self._in_flight:
                    await settled.wait()
                elif is_draining():
                    raise Draining
                else:
                    await self._wait_for_others(amount)
            self._in_flight += 1
        return partial(self._settle_later, reservation)

    async def _wait_for_others(self, amount: Amount) -> None:
        """A moment, if calls of other executors may still leave enough. Raises BudgetExceeded if they can't."""
        spent = await patiently(lambda: self._spending.today(self._workflow))
        over = excess(self._limits, spent, amount)
        if over is None:
            return
        in_flight = await patiently(lambda: self._spending.in_flight(self._workflow))
        if excess(self._limits, spent - in_flight, amount) is not None:
            raise refusal(over, per="day")
        await asyncio.sleep(_OTHERS_S)

    async def _try(self, amount: Amount) -> UUID | None:
        """The reservation; None if the amount doesn't fit."""
        if excess(self._limits, Amount(), amount) is not None:
            # It wouldn't fit even alone. A document can ask for more tokens than a column holds.
            return None
        reservation = uuid4()
        reserving = asyncio.create_task(
            patiently(lambda: self._spending.reserve(reservation, self._workflow, amount, self._limits))
        )
        try:
            return reservation if await asyncio.shield(reserving) else None
        except asyncio.CancelledError:
            self._release_later(reserving, reservation)
            raise

    def _release_later(self, reserving: asyncio.Task[bool], reservation: UUID) -> None:
        """The run was ended while Postgres reserved: no call is made, and nothing else would settle the amount."""

        async def release() -> None:
            if await reserving:
                self._in_flight += 1
                await self._settle(reservation, Amount())

        self._keep(release())

    def _settle_later(self, reservation: UUID, spent: Amount) -> None:
        """No run waits for it."""
        self._keep(self._settle(reservation, spent))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.settling.add(task)
        task.add_done_callback(self.settling.discard)

    async def _settle(self, reservation: UUID, spent: Amount) -> None:
        await patiently(lambda: self._spending.settle(reservation, spent))
        self._in_flight -= 1
        self._settled.set()
        self._settled = asyncio.Event()
