"""Money is spent once: executors that die, and several at once, keep to a budget that they share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from flowyard.runs.budget import Amount
from flowyard.runs.run import Run
from flowyard.storage.budgets import DailySpending
from support.executors import Yard, open_yard
from support.stories import MANY
from support.waiting import eventually
from support.wire.anthropic import anthropic_server
from support.wire.behaviour import Behaviour, Late, Text
from support.wire.server import Request

# Processes start, die, and leave leases that have to end.
pytestmark = pytest.mark.timeout(180)

ITEMS = [f"{n:02}" for n in range(50)]
BUDGETED = """
flow: {name: chain}
state: {fields: {a: str, b: str, c: str}}
nodes:
  - {id: one, prompt: one, outputs: [a]}
  - {id: two, prompt: two, outputs: [b]}
  - {id: three, prompt: three, outputs: [c]}
config:
  llm: MODEL
  budget: BUDGET
"""
BOUND = len("do 00") + 8 + 64
"""Tokens of a prompt, at most."""


def slowly(_: Request) -> Behaviour:
    return Late(Text("done", tokens_in=BOUND, tokens_out=20), 0.3)


def at_once(_: Request) -> Behaviour:
    return Text("done", tokens_in=BOUND, tokens_out=20)


@pytest.fixture
async def yard(database_url: str, nats_url: str) -> AsyncIterator[Yard]:
    async with open_yard(database_url, nats_url, at_once) as opened:
        yield opened


@pytest.fixture
async def slow(database_url: str, nats_url: str) -> AsyncIterator[Yard]:
    async with open_yard(database_url, nats_url, slowly) as opened:
        yield opened


def many(budget: str, *, on_item: str = "fail", durability: str = "sync", more: str = "") -> str:
    config = f"  execution: {{durability: {durability}}}\n  budget: {budget}\n"
    text = MANY.replace("OPTION", f"on_item_error: {on_item}") + config
    return text.replace("MODEL", more) if more else text


def bounded(yard: Yard, tokens: int = 20) -> str:
    return f"{{provider: hosted_vllm, model: m, max_tokens: {tokens}, api_base: '{yard.model.url}'}}"


def stopped_by_its_budget(run: Run) -> None:
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "budget_exceeded"), run.error


async def kinds(yard: Yard, run_id: UUID, kind: str) -> list[Any]:
    return [entry.data for entry in await yard.entries(run_id) if entry.type == kind]


@pytest.mark.parametrize("on_item", ["fail", "skip"])
async def test_fifty_items_make_as_many_calls_as_are_allowed(yard: Yard, on_item: str) -> None:
    await yard.executor("one")
    run_id = await yard.submit(await yard.apply(many("{model_calls: 10}", on_item=on_item)), topics=ITEMS)
    stopped_by_its_budget(await yard.ended(run_id))
    assert len(yard.model.requests) == 10
    # What was paid for is kept: a fork with more money, or a retry, doesn't ask again.
    assert sum(step.has_ended for step in await yard.history.steps(run_id)) == 11
    assert len(await kinds(yard, run_id, "model.reserved")) == 10


async def test_fifty_items_make_no_more_calls_than_their_tokens_allow(yard: Yard) -> None:
    await yard.executor("one")
    text = many(f"{{tokens: {10 * (BOUND + 20)}}}", more=bounded(yard))
    stopped_by_its_budget(await yard.ended(await yard.submit(await yard.apply(text), topics=ITEMS)))
    assert len(yard.model.requests) == 10


async def test_fifty_items_make_no_more_calls_than_their_money_allows(yard: Yard) -> None:
    """$1 and $5 per million tokens."""
    async with anthropic_server([Text("done", tokens_in=BOUND, tokens_out=1000)]) as model:
        await yard.executor("one", stream_tokens="true")
        llm = f"{{provider: anthropic, model: claude-haiku-4-5, max_tokens: 1000, api_base: '{model.url}'}}"
        text = many("{usd: 0.0520}", more=llm)
        run = await yard.ended(await yard.submit(await yard.apply(text), topics=ITEMS), within_s=40)
        stopped_by_its_budget(run)
        assert len(model.requests) == 10
        assert run.spending.cost_usd is not None
        assert Decimal("0.045") < run.spending.cost_usd <= Decimal("0.052")


async def test_a_run_that_its_budget_has_stopped_is_not_helped_by_a_retry(yard: Yard) -> None:
    await yard.executor("one")
    run_id = await yard.submit(await yard.apply(BUDGETED.replace("BUDGET", "{model_calls: 2}")))
    first = await yard.ended(run_id)
    await yard.moves.retry(run_id)
    again = await yard.ended(run_id)
    for run in (first, again):
        stopped_by_its_budget(run)
        assert run.error is not None
        assert (run.error.node, run.outputs) == ("three", {"a": "done", "b": "done"})
    assert len(yard.model.requests) == 2
    assert again.last_seq > first.last_seq


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_an_executor_that_dies_in_the_middle_of_calls_does_not_make_them_free(
    slow: Yard, durability: str
) -> None:
    text = many("{model_calls: 10}", durability=durability).replace(
        "collect_field", "max_concurrency: 4, collect_field"
    )
    run_id = await slow.submit(await slow.apply(text), topics=ITEMS)
    first = await slow.executor("first")
    await eventually(lambda: len(slow.model.requests) >= 6)
    await first.kill()
    before = len(slow.model.requests)
    await slow.executor("second")
    stopped_by_its_budget(await slow.ended(run_id))
    assert before < len(slow.model.requests) <= 10
    reserved, called = await kinds(slow, run_id, "model.reserved"), await kinds(slow, run_id, "model.called")
    assert (len(reserved), len(called)) == (10, 10)
    lost = [call for call in called if call.get("error", {}).get("code") == "executor_lost"]
    assert 0 < len(lost) <= 4
    assert len(await slow.history.calls(run_id)) == 10


async def test_the_calls_of_a_run_that_kills_its_executors_are_recorded_once(slow: Yard) -> None:
    run_id = await slow.submit(await slow.apply(BUDGETED.replace("BUDGET", "{tokens: 100000}")))
    for name in ("first", "second"):
        calls_before = len(slow.model.requests)
        executor = await slow.executor(name)
        await eventually(partial(lambda before: len(slow.model.requests) > before, calls_before))
        await executor.kill()
    await slow.executor("third")
    run = await slow.ended(run_id)
    assert (run.status, len(slow.model.requests), run.spending.calls) == ("succeeded", 5, 5)


async def test_executors_share_what_a_day_allows(yard: Yard) -> None:
    for name in ("one", "two"):
        await yard.executor(name, daily_budgets=json.dumps({"many": {"model_calls": 25}, "*": {"tokens": 100}}))
    text = many("{model_calls: 50}")
    await yard.apply(text)
    runs = [await yard.submit("many", topics=ITEMS[:10]) for _ in range(6)]
    ended = [await yard.ended(run_id) for run_id in runs]
    assert len(yard.model.requests) == 25
    stopped = [run for run in ended if run.status == "failed"]
    assert len(stopped) >= 4
    for run in stopped:
        stopped_by_its_budget(run)
        assert run.error is not None
        assert "the workflow's daily limit of 25 model calls" in run.error.message
    # Each other workflow has its own day.
    other = await yard.ended(await yard.submit(await yard.apply(BUDGETED.replace("BUDGET", "{tokens: 100000}"))))
    stopped_by_its_budget(other)
    assert other.error is not None
    assert "the workflow's daily limit of 100 tokens" in other.error.message


async def test_a_day_takes_what_calls_came_to_and_not_what_they_might_have(yard: Yard) -> None:
    """Each call may take half of what the day allows."""
    await yard.executor("one", daily_budgets=json.dumps({"*": {"tokens": 10_000}}))
    run_id = await yard.submit(await yard.apply(many("{model_calls: 50}", more=bounded(yard, 4_900))), topics=ITEMS)
    assert (await yard.ended(run_id)).status == "succeeded"
    days, came_to = DailySpending(yard.database, executor="one"), Amount(tokens=50 * (BOUND + 20), model_calls=50)

    async def settled() -> bool:
        return await days.today("many") == came_to

    await eventually(settled)
