"""Containers that are killed, frozen, restarted or cut off under running runs."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from support.chains import WITHIN_S, assert_ended_once, in_second_step
from support.compose import Composed, cut_off, docker
from support.system import ALL_SLOTS, EXECUTORS
from support.visitor import Model, Visitor
from support.waiting import eventually
from support.wire.behaviour import Held, Late, Text

RUNS = 8


@asynccontextmanager
async def frozen(container: str) -> AsyncIterator[None]:
    await asyncio.to_thread(docker, "pause", container)
    try:
        yield
    finally:
        await asyncio.to_thread(docker, "unpause", container)


async def all_slots_are_served(visitor: Visitor, model: Model) -> None:
    """By executors that are all at work again."""
    free = asyncio.Event()
    model.respond = lambda _: Held(Text("done"), free)
    run_ids = [await visitor.submit("chain", topic=f"full{number}") for number in range(ALL_SLOTS)]

    async def are_open() -> bool:
        return sum(prompt.startswith("First full") for prompt in model.prompts) == ALL_SLOTS

    await eventually(are_open, WITHIN_S)
    free.set()
    assert {run["status"] for run in await visitor.all_ended(run_ids)} == {"succeeded"}


async def gives_up(compose: Composed, run_id: str) -> None:
    """Returns when an executor has said that it lost its claim to the run."""

    async def look() -> bool:
        lines = await asyncio.to_thread(lambda: list(compose.log_lines()))
        return any("claim lost" in line and run_id in line for _, line in lines)

    await eventually(look, WITHIN_S)


async def test_runs_whose_executors_are_all_killed_go_on_when_there_are_executors_again(
    visitor: Visitor, model: Model, compose: Composed
) -> None:
    run_ids, free = await in_second_step(visitor, model, RUNS)
    await compose.project.does("kill", "executor")
    free.set()
    assert {(await visitor.run(run_id))["status"] for run_id in run_ids} <= {"running", "queued"}
    await compose.project.scale(len(EXECUTORS))
    runs = await assert_ended_once(visitor, model, run_ids)
    assert {run["attempt"] for run in runs} == {2}
    prompts = Counter(model.prompts)
    assert {prompts[f"First t{n}."] for n in range(RUNS)} == {1}
    assert {prompts[f"Second t{n}."] for n in range(RUNS)} == {2}
    assert {prompts[f"Third t{n}."] for n in range(RUNS)} == {1}


@pytest.mark.parametrize("treated", [frozen, cut_off], ids=["frozen", "cut off from every network"])
async def test_an_executor_that_is_away_for_longer_than_its_lease_can_change_nothing_afterwards(
    visitor: Visitor, model: Model, compose: Composed, treated: Callable[[str], AbstractAsyncContextManager[None]]
) -> None:
    (run_id,), free = await in_second_step(visitor, model, 1)
    away = (await visitor.run(run_id))["executor"]
    async with treated(away):
        await asyncio.wait_for(model.received("Second t0.", times=2), WITHIN_S)
        free.set()
        (run,) = await assert_ended_once(visitor, model, [run_id])
        before = await visitor.events(run_id)
        assert run["attempt"] == 2
    await gives_up(compose, run_id)
    await all_slots_are_served(visitor, model)
    # But for the call that it had made when it was frozen: it may be in the ledger now, and what it cost is unknown.
    after = await visitor.run(run_id)
    assert after["spending"]["calls"] in (3, 4)
    assert ({**after, "spending": run["spending"]}, await visitor.events(run_id)) == (run, before)
    assert (model.prompts.count("First t0."), model.prompts.count("Third t0.")) == (1, 1)
    assert compose.bugs() == []
    # Docker calls what was frozen unhealthy until it has looked again.
    await compose.back(away, after=-1)


async def test_a_restart_of_postgres_costs_nothing_but_a_moment(
    visitor: Visitor, model: Model, compose: Composed
) -> None:
    run_ids, free = await in_second_step(visitor, model, RUNS)
    restarting = asyncio.create_task(compose.project.does("restart", "postgres"))
    await asyncio.sleep(0.5)  # it is on its way down
    free.set()
    await restarting
    await assert_ended_once(visitor, model, run_ids)
    assert Counter(model.prompts)["First t0."] == 1


async def test_runs_go_on_while_nats_is_dead_and_it_comes_back_by_itself(
    visitor: Visitor, model: Model, compose: Composed
) -> None:
    run_ids, free = await in_second_step(visitor, model, RUNS)
    model.respond = lambda prompt: model.replies.get(prompt, Late(Text("done"), 0.3))
    starts = compose.send("nats", signal.SIGKILL)
    free.set()
    # Nobody rings for it.
    run_ids.append(await visitor.submit("chain", topic="meanwhile"))
    await assert_ended_once(visitor, model, run_ids)
    assert model.repeated_prompts == {}
    await compose.back("nats", after=starts)
    after = await visitor.submit("chain", topic="after")
    assert (await visitor.ended(after))["status"] == "succeeded"
