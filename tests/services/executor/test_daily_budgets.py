"""What is reserved of a day is settled, or given back."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import UUID

import pytest

from flowyard.errors.services import Unavailable
from flowyard.errors.steps import BudgetExceeded
from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount
from flowyard.storage.budgets import DailySpending
from flowyard.storage.database import open_database
from flowyard_executor.daily_budgets import DailyBudgets
from support.stored import Stored, open_stored


async def test_a_run_that_is_ended_while_it_reserves_leaves_nothing_counted(database_url: str) -> None:
    chance = Random(1)
    async with open_database(database_url, service="tests") as database:
        spending = DailySpending(database, executor="one")
        budgets = DailyBudgets(spending, {"*": Budget(tokens=10)})
        day = budgets.of("triage")
        assert day is not None
        for _ in range(200):
            asking = asyncio.ensure_future(day.reserve(Amount(tokens=6), lambda: False))
            await asyncio.sleep(chance.uniform(0, 0.003))  # it is ended at any moment
            asking.cancel()
            for settle in await asyncio.gather(asking, return_exceptions=True):
                if callable(settle):
                    settle(Amount())
        await budgets.settled(within_s=5)
        assert await spending.today("triage") == Amount()
        assert callable(await day.reserve(Amount(tokens=10), lambda: False))


class LosingAnswers(DailySpending):
    """Every other answer is lost, of statements that were executed."""

    requests = 0

    async def reserve(self, reservation: UUID, workflow: str, amount: Amount, limits: Budget) -> bool:
        reserved = await super().reserve(reservation, workflow, amount, limits)
        self._lose_every_other()
        return reserved

    async def settle(self, reservation: UUID, cost: Amount) -> None:
        await super().settle(reservation, cost)
        self._lose_every_other()

    def _lose_every_other(self) -> None:
        self.requests += 1
        if self.requests % 2:
            raise Unavailable("Postgres")


async def test_a_call_counts_once_if_the_answers_of_postgres_are_lost(database_url: str) -> None:
    async with open_database(database_url, service="tests") as database:
        spending = LosingAnswers(database, executor="one")
        budgets = DailyBudgets(spending, {"*": Budget(tokens=10)})
        day = budgets.of("triage")
        assert day is not None
        settle = await day.reserve(Amount(tokens=6), lambda: False)
        assert await spending.today("triage") == Amount(tokens=6)
        settle(Amount(tokens=4))
        await budgets.settled(within_s=5)
        assert await spending.today("triage") == Amount(tokens=4)
        assert spending.requests == 4


async def test_a_call_waits_for_another_executors_call_that_may_leave_enough(database_url: str) -> None:
    async with open_stored(database_url) as stored:
        await _one_waits_for_the_other(stored)


async def _one_waits_for_the_other(stored: Stored) -> None:
    limits = {"*": Budget(tokens=10)}
    here, there = (DailyBudgets(DailySpending(stored.database, executor=name), limits) for name in ("here", "there"))
    ours, theirs = here.of("test"), there.of("test")
    assert ours is not None
    assert theirs is not None
    await stored.claimed(executor="there")
    settle = await theirs.reserve(Amount(tokens=8), lambda: False)
    waiting = asyncio.ensure_future(ours.reserve(Amount(tokens=6), lambda: False))
    await asyncio.sleep(0.3)  # it has looked at least once
    assert not waiting.done()
    settle(Amount(tokens=4))
    assert callable(await waiting)
    with pytest.raises(BudgetExceeded):
        # All 10 tokens are spent or reserved, and the executor that has reserved 6 of them holds no run: it is gone.
        await theirs.reserve(Amount(tokens=6), lambda: False)
