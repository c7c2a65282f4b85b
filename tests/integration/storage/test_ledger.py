"""Sums over the ledger: exact, and never more known than they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any, get_args

import pytest

from flowyard.runs.costs import Costs, Grouping, Sums
from flowyard.storage.ledger import CallFilter, Ledger
from support.ledger import Book
from support.queued import new_id
from support.stored import LONG_AGO, Stored

EVERYTHING = CallFilter()
DAY = timedelta(days=1)


async def book(stored: Stored, workflow: str = "test") -> Book:
    return Book(stored.committer, await stored.claimed(workflow))


async def costs(stored: Stored, by: Grouping, wanted: CallFilter = EVERYTHING, *, most: int = 100) -> Costs:
    return await Ledger(stored.database).costs(by, wanted, most=most)


async def names(stored: Stored, by: Grouping, wanted: CallFilter = EVERYTHING) -> list[str]:
    return [name for name, _ in (await costs(stored, by, wanted)).groups]


async def total(stored: Stored, wanted: CallFilter = EVERYTHING) -> Sums:
    return (await costs(stored, "provider", wanted)).total


async def test_nothing_came_to_nothing(stored: Stored) -> None:
    result = await costs(stored, "model")
    assert (result.groups, result.group_count) == ([], 0)
    assert (result.total.calls, result.total.cost_usd, result.total.tokens_in) == (0, Decimal(0), 0)
    assert result.total.duration_mean_s is None


async def test_calls_are_grouped_by_what_they_were_made_with_and_for(stored: Stored) -> None:
    one, two = await book(stored, "a.b"), await book(stored, "c")
    await one.call(provider="openai", model="x/small", node="write", cost="3")
    await one.call(provider="anthropic", model="large", node="read", cost="2", at=LONG_AGO + DAY)
    await two.call(provider="openai", model="large", node="write", cost="1")
    assert await names(stored, "provider") == ["openai", "anthropic"]
    assert await names(stored, "model") == ["openai/x/small", "anthropic/large", "openai/large"]
    assert await names(stored, "workflow") == ["a.b", "c"]
    assert await names(stored, "node") == ["a.b.write", "a.b.read", "c.write"]
    assert await names(stored, "day") == ["2026-01-02", "2026-01-01"]
    assert await names(stored, "run") == [str(one.claim.run_id), str(two.claim.run_id)]


async def test_calls_are_chosen_by_time_workflow_and_run(stored: Stored) -> None:
    one, two = await book(stored, "one"), await book(stored, "two")
    for day in range(3):
        await one.call(at=LONG_AGO + day * DAY)
    await two.call()
    assert (await total(stored, CallFilter(since=LONG_AGO + DAY))).calls == 2
    assert (await total(stored, CallFilter(until=LONG_AGO + DAY))).calls == 2
    assert (await total(stored, CallFilter(since=LONG_AGO + DAY, until=LONG_AGO + 2 * DAY))).calls == 1
    assert (await total(stored, CallFilter(workflow="one"))).calls == 3
    assert (await total(stored, CallFilter(workflow="one", run_id=two.claim.run_id))).calls == 0
    assert (await total(stored, CallFilter(run_id=two.claim.run_id))).calls == 1
    assert (await total(stored, CallFilter(run_id=new_id()))).calls == 0


async def test_a_day_begins_when_it_does_in_utc(stored: Stored) -> None:
    written = await book(stored)
    await written.call(at=LONG_AGO - timedelta(microseconds=1))
    await written.call(at=LONG_AGO)
    assert await names(stored, "day") == ["2026-01-01", "2025-12-31"]


async def test_an_unknown_sum_stays_unknown_next_to_the_known_one(stored: Stored) -> None:
    written = await book(stored)
    await written.call(cost="0.25", tokens=(7, 3, 1))
    await written.call(cost=None, tokens=(None, 4, None), error="timeout")
    await written.call(cost="0", tokens=(5, None, 2))
    sums = await total(stored)
    assert (sums.calls, sums.errors, sums.unknown_cost, sums.unknown_tokens) == (3, 1, 1, 2)
    assert (sums.cost_usd, sums.tokens_in, sums.tokens_out, sums.tokens_cached) == (None, None, None, None)
    assert (sums.known_cost_usd, sums.known_tokens_in, sums.known_tokens_out) == (Decimal("0.25"), 12, 7)
    assert sums.known_tokens_cached == 3


async def test_durations_are_those_of_the_calls_that_were_answered(stored: Stored) -> None:
    written = await book(stored)
    for duration in range(1, 22):
        await written.call(duration_s=duration, first_token_s=duration / 2 if duration < 4 else None)
    await written.call(duration_s=500, error="timeout")
    sums = await total(stored)
    assert (sums.duration_mean_s, sums.duration_p95_s, sums.first_token_p50_s) == (11, 20, 1)


async def test_the_most_expensive_groups_are_listed_and_the_total_is_that_of_all(stored: Stored) -> None:
    written = await book(stored)
    for number in range(5):
        await written.call(model=f"m{number}", cost=str(number))
    result = await costs(stored, "model", most=2)
    assert [name for name, _ in result.groups] == ["openai/m4", "openai/m3"]
    assert (result.group_count, result.total.known_cost_usd) == (5, Decimal(10))


@pytest.mark.parametrize("seed", range(3))
async def test_the_parts_of_every_grouping_add_up_to_the_total_and_to_the_runs_to_the_last_digit(
    stored: Stored, seed: int
) -> None:
    chance = random.Random(seed)
    books = [await book(stored, workflow) for workflow in ("a", "b", "a")]
    for _ in range(40):
        await chance.choice(books).call(**some_call(chance))
    runs = [await stored.runs.get(written.claim.run_id) for written in books]
    for by in get_args(Grouping):
        result = await costs(stored, by)
        parts = [sums for _, sums in result.groups]
        assert exactly([part.known_cost_usd for part in parts]) == result.total.known_cost_usd
        for name in ("calls", "errors", "unknown_cost", "unknown_tokens", "known_tokens_in", "known_tokens_out"):
            assert sum(getattr(part, name) for part in parts) == getattr(result.total, name)
        assert (result.total.cost_usd is None) == any(part.cost_usd is None for part in parts)
    of_runs = dict((await costs(stored, "run")).groups)
    for run in runs:
        sums, spent = of_runs[str(run.id)], run.spending
        totals = (sums.calls, sums.tokens_in, sums.tokens_out, str(sums.cost_usd))
        assert totals == (spent.calls, spent.tokens_in, spent.tokens_out, str(spent.cost_usd))


def some_call(chance: random.Random) -> dict[str, Any]:
    digits = chance.randrange(10 ** chance.randrange(1, 30))
    return {
        "provider": chance.choice("pq"),
        "model": chance.choice("mn"),
        "node": chance.choice("xy"),
        "cost": chance.choice([None, "0", f"{Decimal(digits).scaleb(-chance.randrange(30)):f}"]),
        "tokens": tuple(chance.choice([None, chance.randrange(1000)]) for _ in range(3)),
        "error": chance.choice([None, None, "timeout"]),
        "at": LONG_AGO + timedelta(hours=chance.randrange(100)),
    }


def exactly(parts: Sequence[Decimal]) -> Decimal:
    """Their sum: Python's own would be rounded to 28 digits."""
    with localcontext() as context:
        context.prec = 200
        return sum(parts, Decimal(0))
