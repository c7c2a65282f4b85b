"""An executor that goes away makes no call that still waits for its budget: others make it, if anybody does."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

import pytest

from support.executors import ExecutorProcess, Yard, open_yard
from support.stories import MANY
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Held, Text
from support.wire.server import Request

# Processes start, die, and leave leases that have to end.
pytestmark = pytest.mark.timeout(180)

ITEMS: Final = [f"{n:02}" for n in range(50)]
IN_TURN: Final = 9_900
"""Tokens: two calls don't fit side by side, for each may take 4,977 of them, and fifty that take 97 fit in turn."""
IN_PAIRS: Final = 14_900
FOR_SIX: Final = 5_500
DONE: Final = Text("done", tokens_in=77, tokens_out=20)
WRONG: Final = Text("", tokens_in=77, tokens_out=20)


@dataclass
class Model:
    """Answers the first calls at once, and the others when `go` is set, or `last`: that is for those in `late`.

    `wrong`: the calls whose replies don't fit.
    """

    answered: int = 2
    wrong: frozenset[int] = frozenset()
    late: frozenset[int] = frozenset()
    go: asyncio.Event = field(default_factory=asyncio.Event)
    last: asyncio.Event = field(default_factory=asyncio.Event)
    prompts: list[str] = field(default_factory=list)
    """The first message of each conversation."""

    def reply(self, request: Request) -> Behaviour:
        number = len(self.prompts)
        self.prompts.append(str(request.body["messages"][0]["content"]))
        text = WRONG if number in self.wrong else DONE
        return text if number < self.answered else Held(text, self.last if number in self.late else self.go)

    async def received(self, times: int) -> None:
        await eventually(lambda: len(self.prompts) >= times)


Yards: TypeAlias = Callable[[Model], AbstractAsyncContextManager[Yard]]


@pytest.fixture
def opened(database_url: str, nats_url: str) -> Yards:
    @asynccontextmanager
    async def open_one(model: Model) -> AsyncIterator[Yard]:
        async with open_yard(database_url, nats_url, model.reply) as yard:
            yield yard

    return open_one


async def apply(yard: Yard, budget: str | None = None, *, longest: int = 4_900, more: str = "") -> str:
    """`longest`: tokens of a reply."""
    config = f"  budget: {budget}\n" if budget else ""
    llm = f"{{provider: hosted_vllm, model: m, max_tokens: {longest}, api_base: '{yard.model.url}'}}"
    text = MANY.replace("OPTION", "on_item_error: fail").replace("MODEL", llm)
    return await yard.apply(text + config + more)


def day(tokens: int) -> str:
    return json.dumps({"*": {"tokens": tokens}})


async def begin_draining(executor: ExecutorProcess) -> None:
    executor.send(signal.SIGTERM)
    await executor.logged("draining")


async def gone(executor: ExecutorProcess) -> None:
    assert await asyncio.wait_for(executor.process.wait(), 4) == 0


async def finished(yard: Yard, run_id: UUID) -> Counter[int]:
    """How often each item has."""
    entries = await yard.entries(run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return Counter(entry.data["item"] for entry in entries if entry.type == "step.finished")


@pytest.mark.parametrize(
    ("budget", "daily", "durability"),
    [
        (f"{{tokens: {IN_TURN}}}", "{}", "sync"),
        (f"{{tokens: {IN_TURN}}}", "{}", "exit"),
        (None, day(IN_TURN), "sync"),
        ("{model_calls: 50}", day(IN_TURN), "async"),
    ],
    ids=["run", "run-exit", "day", "both"],
)
async def test_calls_that_wait_for_their_budget_are_made_elsewhere_once_each(
    opened: Yards, budget: str | None, daily: str, durability: str
) -> None:
    model = Model()
    async with opened(model) as yard:
        leaving = await yard.executor("leaving", daily_budgets=daily)
        name = await apply(yard, budget, more=f"  execution: {{durability: {durability}}}\n")
        run_id = await yard.submit(name, topics=ITEMS)
        await model.received(3)
        await begin_draining(leaving)
        model.go.set()
        await gone(leaving)
        assert len(model.prompts) == 3
        assert await finished(yard, run_id) == Counter(range(3))
        assert (await yard.runs.get(run_id)).status == "queued"
        await yard.executor("staying", daily_budgets=daily)
        run = await yard.ended(run_id)
        assert (run.status, run.attempt, run.outputs) == ("succeeded", 1, {"poems": ["done"] * 50})
        assert Counter(model.prompts) == {f"do {item}": 1 for item in ITEMS}
        assert await finished(yard, run_id) == Counter(range(50))
        assert (run.spending.calls, run.spending.tokens_in) == (50, 50 * 77)


async def test_a_budget_that_an_executor_left_almost_spent_stops_the_run_elsewhere(opened: Yards) -> None:
    model = Model()
    async with opened(model) as yard:
        leaving = await yard.executor("leaving")
        run_id = await yard.submit(await apply(yard, f"{{tokens: {FOR_SIX}}}"), topics=ITEMS)
        await model.received(3)
        await begin_draining(leaving)
        model.go.set()
        await gone(leaving)
        assert len(model.prompts) == 3
        await yard.executor("staying")
        run = await yard.ended(run_id)
        assert run.error is not None
        assert (run.status, run.error.code, len(model.prompts)) == ("failed", "budget_exceeded", 6)
        assert max(Counter(model.prompts).values()) == 1


async def test_a_run_that_waits_for_another_ones_call_is_not_refused_elsewhere_because_of_it(opened: Yards) -> None:
    """A call of 9,077 tokens at most is in flight: with 97 that are spent, there isn't room for 1,077 until it ends."""
    model = Model(answered=0, late=frozenset({0}))
    async with opened(model) as yard:
        daily = day(10_200)
        leaving = await yard.executor("leaving", daily_budgets=daily, drain_s="30")
        large = await yard.submit(await apply(yard, longest=9_000), topics=["large"])
        await model.received(1)
        small = await yard.submit(await apply(yard, longest=1_000), topics=ITEMS[:4])
        await model.received(2)
        await begin_draining(leaving)
        model.go.set()
        await yard.steps_done(small, 1)
        await yard.executor("staying", daily_budgets=daily)
        await asyncio.sleep(1)  # a call that is made too early would come in this time
        assert len(model.prompts) == 2
        model.last.set()
        ended = [await yard.ended(run_id) for run_id in (large, small)]
        assert [run.status for run in ended] == ["succeeded"] * 2
        assert Counter(model.prompts) == {"do large": 1, **{f"do {item}": 1 for item in ITEMS[:4]}}


async def test_a_step_whose_reply_did_not_fit_is_finished_where_it_was_begun(opened: Yards) -> None:
    model = Model(answered=1, wrong=frozenset({0}))
    async with opened(model) as yard:
        leaving = await yard.executor("leaving")
        run_id = await yard.submit(await apply(yard, f"{{tokens: {IN_TURN}}}"), topics=ITEMS[:8])
        await model.received(2)
        await yard.recorded(run_id, "step.retrying", "write")
        await begin_draining(leaving)
        model.go.set()
        await gone(leaving)
        assert model.prompts == ["do 00", "do 01", "do 00"]
        assert len(yard.model.requests[-1].body["messages"]) == 3
        await yard.executor("staying")
        assert (await yard.ended(run_id)).status == "succeeded"
        assert Counter(model.prompts) == {"do 00": 2, **{f"do {item}": 1 for item in ITEMS[1:8]}}


async def test_a_step_that_fails_while_others_stand_aside_ends_the_run_where_it_is(opened: Yards) -> None:
    model = Model(wrong=frozenset({2}), late=frozenset({2}))
    async with opened(model) as yard:
        leaving = await yard.executor("leaving")
        more = "  execution: {max_retries: 0}\n"
        run_id = await yard.submit(await apply(yard, f"{{tokens: {IN_PAIRS}}}", more=more), topics=ITEMS)
        await model.received(4)
        await begin_draining(leaving)
        model.go.set()
        await yard.steps_done(run_id, 3)
        model.last.set()
        await gone(leaving)
        run = await yard.runs.get(run_id)
        assert run.error is not None
        assert (run.status, run.error.code, len(model.prompts)) == ("failed", "invalid_output", 4)
