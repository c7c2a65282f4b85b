"""What workflows may spend per day: each call is reserved in Postgres, where all executors see it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from datetime import date
from functools import partial
from typing import Any, Final

from flowyard.durable.patience import patiently
from flowyard.errors import Unavailable
from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount, excess
from flowyard.steps.budget_gate import DailyLimit, GoingAway, IsLeaving, Settle, refusal
from flowyard.storage.budgets import DailySpending

log = logging.getLogger(__name__)

ANY_OTHER: Final = "*"
"""Names the limits of each workflow that has none of its own."""


class Days:
    """The days of all workflows that are limited, as far as this process works on them."""

    def __init__(self, spending: DailySpending, budgets: Mapping[str, Budget]) -> None:
        self._spending = spending
        self._budgets = budgets
        self._known: dict[str, _Days] = {}

    def of(self, workflow: str) -> DailyLimit | None:
        """None: it may spend any amount."""
        limits = self._budgets.get(workflow) or self._budgets.get(ANY_OTHER)
        if limits is None:
            return None
        known = self._known.setdefault(workflow, _Days(workflow, limits, self._spending))
        return DailyLimit(limits, known.reserve)

    async def settled(self, *, within_s: float) -> None:
        """Returns when what has ended is settled. What isn't stays counted as it was reserved."""
        open_ends = [task for days in self._known.values() for task in days.settling]
        if open_ends:
            await asyncio.wait(open_ends, timeout=within_s)


class _Days:
    """One workflow."""

    def __init__(self, workflow: str, limits: Budget, spending: DailySpending) -> None:
        self.settling: set[asyncio.Task[None]] = set()
        self._workflow = workflow
        self._limits = limits
        self._spending = spending
        self._in_flight = 0
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, amount: Amount, is_leaving: IsLeaving) -> Settle:
        """Waits as long as calls of this process may leave more than they reserved. Raises BudgetExceeded, GoingAway.

        Who leaves waits for them, too: whoever takes up its run would be refused because of what they have reserved.
        """
        async with self._turn:
            while True:
                settled = self._settled
                day = await self._try(amount) if not is_leaving() else None
                if day is not None:
                    break
                if self._in_flight:
                    await settled.wait()
                elif is_leaving():
                    raise GoingAway
                else:
                    await self._refuse(amount)
            self._in_flight += 1
        return partial(self._settle_later, day, amount)

    async def _refuse(self, amount: Amount) -> None:
        """Raises BudgetExceeded, unless it fits by now."""
        spent = await patiently(lambda: self._spending.today(self._workflow))
        found = excess(self._limits, spent, amount)
        if found is not None:
            raise refusal(found, per="day")

    async def _try(self, amount: Amount) -> date | None:
        if excess(self._limits, Amount(), amount) is not None:
            # Not even alone. A document can ask for more tokens than a column holds.
            return None
        # If an answer gets lost, it is reserved twice: too much, and never too little.
        asked = asyncio.create_task(patiently(lambda: self._spending.reserve(self._workflow, amount, self._limits)))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            self._take_back_later(asked, amount)
            raise

    def _take_back_later(self, asked: asyncio.Task[date | None], amount: Amount) -> None:
        """Its run was ended while Postgres was asked, and makes no call: nobody else would settle it."""

        async def take_back() -> None:
            day = await asked
            if day is not None:
                self._in_flight += 1
                await self._settle(day, amount, Amount())

        self._keep(take_back())

    def _settle_later(self, day: date, reserved: Amount, came_to: Amount) -> None:
        """No run waits for it."""
        self._keep(self._settle(day, reserved, came_to))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.settling.add(task)
        task.add_done_callback(self.settling.discard)

    async def _settle(self, day: date, reserved: Amount, came_to: Amount) -> None:
        try:
            # A call that ends while Postgres is away would stay counted as it was reserved.
            await patiently(self._spending.reached)
            # Once: if the answer gets lost, nobody can tell whether it has been taken off.
            await self._spending.settle(self._workflow, day, reserved, came_to)
        except Unavailable:
            log.warning("a call stays counted as it was reserved", extra={"workflow": self._workflow})
        finally:
            self._in_flight -= 1
            self._settled.set()
            self._settled = asyncio.Event()
