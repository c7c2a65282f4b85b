"""A day's limit holds, however many ask at once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from uuid import uuid4

from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount
from flowyard.storage.budgets import DailySpending
from support.stored import Stored

CALL = Amount(Decimal("0.10"), 100, 1)


async def test_no_more_is_reserved_than_a_day_allows_however_many_reserve_at_once(stored: Stored) -> None:
    days = DailySpending(stored.database, executor="one")
    for workflow, limits in [
        ("usd", Budget(usd=Decimal("1.05"))),
        ("tokens", Budget(tokens=1000)),
        ("calls", Budget(model_calls=10, usd=Decimal(50))),
    ]:
        taken = await asyncio.gather(*(days.reserve(uuid4(), workflow, CALL, limits) for _ in range(50)))
        assert sum(taken) == 10
        assert await days.today(workflow) == Amount(Decimal("1.00"), 1000, 10)


async def test_the_first_call_of_a_day_is_measured_too(stored: Stored) -> None:
    days = DailySpending(stored.database, executor="one")
    for limits in (Budget(usd=Decimal("0.09")), Budget(tokens=99)):
        assert not await days.reserve(uuid4(), "test", CALL, limits)
    assert await days.today("test") == Amount()
    assert await days.reserve(uuid4(), "test", CALL, Budget(usd=Decimal("0.1"), tokens=100, model_calls=1))


async def test_what_a_call_did_not_need_is_there_for_others(stored: Stored) -> None:
    days, limits = DailySpending(stored.database, executor="one"), Budget(tokens=150)
    reservation = uuid4()
    assert await days.reserve(reservation, "test", CALL, limits)
    assert not await days.reserve(uuid4(), "test", CALL, limits)
    await days.settle(reservation, Amount(Decimal("0.012"), 50, 1))
    assert await days.today("test") == Amount(Decimal("0.012"), 50, 1)
    assert await days.reserve(uuid4(), "test", CALL, limits)


async def test_what_is_sent_again_because_its_answer_was_lost_counts_once(stored: Stored) -> None:
    days, limits, reservation = DailySpending(stored.database, executor="one"), Budget(tokens=150), uuid4()
    for _ in range(2):
        assert await days.reserve(reservation, "test", CALL, limits)
        assert await days.today("test") == CALL
    for _ in range(2):
        await days.settle(reservation, Amount(Decimal("0.012"), 50, 1))
        assert await days.today("test") == Amount(Decimal("0.012"), 50, 1)


async def test_each_day_and_each_workflow_has_its_own(stored: Stored) -> None:
    days, limits = DailySpending(stored.database, executor="one"), Budget(model_calls=1)
    assert await days.reserve(uuid4(), "one", CALL, limits)
    assert await days.reserve(uuid4(), "two", CALL, limits)
    assert not await days.reserve(uuid4(), "one", CALL, limits)
    await stored.database.execute("UPDATE daily_spending SET day = day - 1")
    assert await days.reserve(uuid4(), "one", CALL, limits)


async def test_days_that_are_over_are_forgotten(stored: Stored) -> None:
    days = DailySpending(stored.database, executor="one")
    await days.reserve(uuid4(), "old", CALL, Budget())
    await stored.database.execute("UPDATE daily_spending SET day = day - 3")
    await days.reserve(uuid4(), "new", CALL, Budget())
    assert await stored.retention.delete_days(older_than_s=2 * 86_400) == 1
    assert await days.today("new") == CALL


async def test_what_others_have_in_flight_is_known_while_they_are_alive(stored: Stored) -> None:
    """Of executors that are gone, it counts as spent."""
    here, there = (DailySpending(stored.database, executor=name) for name in ("here", "there"))
    claim = await stored.claimed(executor="there")
    reservation = uuid4()
    assert await there.reserve(reservation, "test", CALL, Budget())
    assert (await here.today("test"), await here.in_flight("test")) == (CALL, CALL)
    await there.settle(reservation, Amount(Decimal("0.01"), 10, 1))
    assert await here.today("test") == Amount(Decimal("0.01"), 10, 1)
    assert await here.in_flight("test") == Amount()
    await there.reserve(uuid4(), "test", CALL, Budget())
    await stored.expire(claim.run_id)
    assert await here.in_flight("test") == Amount()
    assert (await here.today("test")).tokens == 110
    await there.begin()
    assert (await here.today("test")).tokens == 110


async def test_what_a_former_process_of_the_same_name_reserved_is_spent(stored: Stored) -> None:
    here = DailySpending(stored.database, executor="here")
    await stored.claimed(executor="here")
    await here.reserve(uuid4(), "test", CALL, Budget())
    assert await here.in_flight("test") == CALL
    await here.begin()
    assert (await here.today("test"), await here.in_flight("test")) == (CALL, Amount())
