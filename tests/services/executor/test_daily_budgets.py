"""What is reserved of a day is settled, or given back."""

from __future__ import annotations

import asyncio
from random import Random

from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount
from flowyard.storage.budgets import DailySpending
from flowyard.storage.database import open_database
from flowyard_executor.daily_budgets import DailyBudgets


async def test_a_run_that_is_ended_while_it_reserves_leaves_nothing_counted(database_url: str) -> None:
    chance = Random(1)
    async with open_database(database_url, service="tests") as database:
        spending = DailySpending(database)
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
