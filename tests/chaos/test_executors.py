"""Executors that die, freeze, or have a wrong clock: no run is lost, and no step that was committed runs again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest

from flowyard.runs.entries import ENDINGS
from flowyard.runs.run import Run
from support.executors import LEASE_S, ExecutorProcess, Yard, open_yard, prompt_of
from support.stories import CHAIN, MANY
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Late, Text
from support.wire.server import Request

# Processes start, die, and leave leases that have to end.
pytestmark = pytest.mark.timeout(180)

SLOW_S = 0.4
FIFTY = 50
COUNT = """\
flow: {name: count}
state: {fields: {n: int}}
nodes: [{id: a, prompt: 'Count.', outputs: [n]}]
config: {llm: MODEL}
"""


def slow_second(request: Request) -> Behaviour:
    """The second step takes a while: long enough to be interrupted."""
    word = prompt_of(request).split()[0]
    return Late(Text(word), SLOW_S) if word == "Second" else Text(word)


def slow_items(request: Request) -> Behaviour:
    return Late(Text(prompt_of(request).upper()), 0.1)


@pytest.fixture
async def yard(database_url: str, nats_url: str) -> AsyncIterator[Yard]:
    async with open_yard(database_url, nats_url, slow_second) as opened:
        yield opened


async def in_second_step(yard: Yard) -> None:
    await eventually(lambda: any(p.startswith("Second") for p in yard.prompts))


async def assert_ended_once(yard: Yard, run_id: UUID) -> None:
    entries = await yard.entries(run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.type for entry in entries if entry.type in ENDINGS] == [entries[-1].type]
    finished = Counter(
        (e.data["node"], e.data["visit"], e.data.get("item")) for e in entries if e.type == "step.finished"
    )
    assert set(finished.values()) <= {1}
    assert await yard.queue.orphaned() == 0


async def assert_ledger_has(yard: Yard, run: Run, *, lost: int) -> None:
    """Every call that a model received, and `lost` of them with nothing known but that."""
    calls = await yard.history.calls(run.id)
    call_seqs = [entry.seq for entry in await yard.entries(run.id) if entry.type == "model.called"]
    assert [call.seq for call in calls] == call_seqs
    assert len(calls) == run.spending.calls == sum(yard.prompts.values())
    nothing = [call for call in calls if call.error == "executor_lost"]
    assert [(call.cost_usd, call.tokens_in) for call in nothing] == [(None, None)] * lost
    assert run.spending.cost_usd is None


async def test_a_run_whose_executor_is_killed_in_the_middle_of_a_step_goes_on_elsewhere(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    first = await yard.executor("first")
    await in_second_step(yard)
    await yard.recorded(run_id, "step.started", "second")
    await first.kill()
    await yard.executor("second")
    run = await yard.ended(run_id)
    assert (run.status, run.attempt, run.outputs) == (
        "succeeded",
        2,
        {"one": "First", "two": "Second", "three": "Third"},
    )
    assert yard.prompts == {"First rain.": 1, "Second rain.": 2, "Third rain.": 1}
    # The model can see that it receives the same call again.
    keys = [r.headers["idempotency-key"] for r in yard.model.requests if prompt_of(r) == "Second rain."]
    assert keys == [f"{run_id}:second:1"] * 2
    # What the call came to that died with its executor, nobody knows: it is no zero.
    assert (run.spending.calls, run.spending.tokens_in) == (4, None)
    [finished] = [
        e for e in await yard.history.entries(run_id) if e.type == "step.finished" and e.data["node"] == "second"
    ]
    assert (finished.data["calls"], finished.data["tokens_in"]) == (2, None)
    await assert_ended_once(yard, run_id)


async def test_an_executor_that_comes_back_takes_up_its_runs_at_once(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    first = await yard.executor("first", lease_s="60")
    await in_second_step(yard)
    await first.kill()
    await yard.executor("first", lease_s="60")
    run = await yard.ended(run_id, within_s=5)
    assert run.status == "succeeded"
    assert yard.prompts["First rain."] == 1


async def test_fifty_runs_of_an_executor_that_is_killed_have_all_ended_three_seconds_after_its_restart(
    database_url: str, nats_url: str
) -> None:
    """The lease is so long that nobody else would find them."""
    async with open_yard(
        database_url, nats_url, lambda request: Late(Text(prompt_of(request).split()[0]), 0.3)
    ) as yard:
        name = await yard.apply(CHAIN)
        runs = [await yard.submit(name, topic=f"t{n}") for n in range(FIFTY)]
        first = await yard.executor("only", lease_s="60", slots="64")
        begun = time.monotonic()
        await eventually(lambda: sum(yard.prompts[f"Second t{n}."] for n in range(FIFTY)) == FIFTY, 60)
        # A busy machine may take longer for the rest, as it did for the first steps.
        within_s = max(3, 3 * (time.monotonic() - begun))
        await first.kill()
        committed = {
            f"{step.node.capitalize()} t{n}."
            for n, run_id in enumerate(runs)
            for step in await yard.history.steps(run_id)
            if step.has_ended
        }
        before = Counter(yard.prompts)
        await yard.executor("only", lease_s="60", slots="64")
        begun = time.monotonic()
        ended = [await yard.ended(run_id, within_s=within_s) for run_id in runs]
        assert time.monotonic() - begun < within_s
        assert [(run.status, run.attempt) for run in ended] == [("succeeded", 2)] * FIFTY
        # Each had at least its first step, and none of those was executed again.
        assert len(committed) >= FIFTY
        assert {prompt: yard.prompts[prompt] - before[prompt] for prompt in committed} == dict.fromkeys(committed, 0)
        for run_id in runs:
            await assert_ended_once(yard, run_id)


async def test_committed_items_of_a_map_are_not_called_again(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url, slow_items) as yard:
        run_id = await yard.submit(
            await yard.apply(MANY.replace("OPTION", "max_concurrency: 4")), topics=[f"t{n}" for n in range(16)]
        )
        first = await yard.executor("first")
        await yard.steps_done(run_id, 5)
        await first.kill()
        committed = {f"do t{step.item}" for step in await yard.history.steps(run_id) if step.has_ended}
        await yard.executor("second")
        run = await yard.ended(run_id)
        assert run.outputs is not None
        assert run.outputs["poems"] == [f"DO T{n}" for n in range(16)]
        assert {prompt: count for prompt, count in yard.prompts.items() if count > 1 and prompt in committed} == {}
        assert sum(yard.prompts.values()) <= 16 + 4
        await assert_ended_once(yard, run_id)


async def test_a_frozen_executor_can_not_change_a_run_that_has_gone_on_without_it(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    frozen = await yard.executor("frozen")
    await in_second_step(yard)
    # Else its call would join the ledger only when it goes on, and change the run's sums: see the next test.
    await yard.recorded(run_id, "step.started", "second")
    frozen.send(signal.SIGSTOP)
    await yard.executor("other")
    run = await yard.ended(run_id)
    await asyncio.sleep(3 * LEASE_S - SLOW_S)  # longer than the frozen one could think that it holds its lease
    before = await yard.entries(run_id)
    frozen.send(signal.SIGCONT)
    assert (await frozen.logged("claim lost"))["run_id"] == str(run_id)
    assert await yard.entries(run_id) == before
    assert await yard.runs.get(run_id) == run
    assert (run.status, yard.prompts["First rain."], yard.prompts["Third rain."]) == ("succeeded", 1, 1)
    await assert_ended_once(yard, run_id)


async def test_a_call_that_a_frozen_executor_had_just_made_is_in_the_ledger(database_url: str, nats_url: str) -> None:
    """It is frozen before anything of the call is on disk; when it goes on, another one has ended the run."""
    executors: list[ExecutorProcess] = []

    def freeze(request: Request) -> Behaviour:
        word = prompt_of(request).split()[0]
        if word == "Second" and len(executors) == 1:
            executors[0].send(signal.SIGSTOP)
        return Text(word)

    async with open_yard(database_url, nats_url, freeze) as yard:
        executors.append(await yard.executor("frozen"))
        run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
        await in_second_step(yard)
        executors.append(await yard.executor("other"))
        run, entries = await yard.ended(run_id), await yard.entries(run_id)
        executors[0].send(signal.SIGCONT)
        await executors[0].logged("added calls of a lost claim to the ledger")
        assert yard.prompts == {"First rain.": 1, "Second rain.": 2, "Third rain.": 1}
        *calls, lost = await yard.history.calls(run_id)
        assert [call.error for call in calls] == [None] * 3
        assert (lost.step.node, lost.status, lost.error) == ("second", "lost", "executor_lost")
        assert (lost.cost_usd, lost.tokens_in) == (None, None)
        assert await yard.entries(run_id) == entries
        after = await yard.runs.get(run_id)
        assert replace(after, spending=run.spending) == run
        assert (run.spending.tokens_in, after.spending.calls, after.spending.tokens_in) == (60, 4, None)
        await assert_ended_once(yard, run_id)


async def test_a_frozen_executor_asks_nothing_more_about_a_step_that_another_one_has_finished(
    database_url: str, nats_url: str
) -> None:
    """The reply that comes while it is frozen is useless, and would be corrected at once."""
    executors: list[ExecutorProcess] = []

    def answer(_request: Request) -> Behaviour:
        if len(executors) > 1:
            return Text("7")
        executors[0].send(signal.SIGSTOP)
        return Text("many")

    async with open_yard(database_url, nats_url, answer) as yard:
        executors.append(await yard.executor("frozen"))
        run_id = await yard.submit(await yard.apply(COUNT))
        await eventually(lambda: len(yard.model.requests) == 1)
        executors.append(await yard.executor("other"))
        run = await yard.ended(run_id)
        executors[0].send(signal.SIGCONT)
        await executors[0].logged("claim lost")
        assert (run.status, run.outputs, len(yard.model.requests)) == ("succeeded", {"n": 7}, 2)


async def test_a_step_of_a_frozen_executor_is_over_at_its_deadline_and_not_with_the_lease(yard: Yard) -> None:
    """The lease is so long that nobody would miss the executor for a minute."""
    limited = CHAIN.replace("{id: second,", "{id: second, timeout: 1, retry: 0,")
    assert limited != CHAIN
    run_id = await yard.submit(await yard.apply(limited), topic="rain")
    frozen = await yard.executor("frozen", lease_s="60")
    await eventually(lambda: yard.database.value("SELECT step_deadline FROM claims"))
    await in_second_step(yard)
    frozen.send(signal.SIGSTOP)
    await yard.executor("other")
    run = await yard.ended(run_id)
    frozen.send(signal.SIGCONT)
    assert (run.status, run.error and run.error.code, run.error and run.error.node) == ("failed", "timeout", "second")
    # The other one has recorded the timeout, and made no call.
    assert (yard.prompts["First rain."], sum(yard.prompts.values())) == (1, 2)
    await assert_ended_once(yard, run_id)


async def test_two_executors_with_the_same_run_end_it_once(yard: Yard) -> None:
    executors = {name: await yard.executor(name, slots="1") for name in ("one", "two")}
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    await in_second_step(yard)
    owner = (await yard.runs.get(run_id)).executor
    assert owner is not None
    # As if its lease had run out early: the run is offered again while its executor is alive and at work.
    await yard.database.execute("UPDATE runs SET status = 'queued', queued_at = now() WHERE id = $1", run_id)
    run = await yard.ended(run_id)
    await executors[owner].logged("claim lost")
    assert (run.status, yard.prompts["First rain."], yard.prompts["Third rain."]) == ("succeeded", 1, 1)
    await assert_ended_once(yard, run_id)


@pytest.mark.parametrize("off_s", [-60, pytest.param(60, marks=pytest.mark.long)])
async def test_an_executor_with_a_wrong_clock_neither_steals_nor_loses_runs(yard: Yard, off_s: int) -> None:
    name = await yard.apply(CHAIN)
    # A lease that a busy machine renews in time, and that is still much shorter than the clock is wrong.
    right = await yard.executor("right", slots="2", lease_s="10")
    wrong = await yard.executor("wrong", slots="2", lease_s="10", clock_off_s=off_s)
    runs = [await yard.submit(name, topic=f"t{n}") for n in range(4)]
    ended = [await yard.ended(run_id) for run_id in runs]
    assert [(run.status, run.attempt) for run in ended] == [("succeeded", 1)] * 4
    for run_id in runs:
        await assert_ended_once(yard, run_id)
        times = [entry.at for entry in await yard.entries(run_id)]
        assert times == sorted(times)
        assert (times[-1] - times[0]).total_seconds() < 30
    assert set(yard.prompts.values()) == {1}
    assert not [line for line in right.lines + wrong.lines if "lost" in line["event"]]


async def test_a_run_is_cancelled_although_its_executor_is_dead(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    first = await yard.executor("first")
    await yard.recorded(run_id, "step.started", "second")
    await first.kill()
    await yard.moves.cancel(run_id)
    await yard.executor("second")
    run = await yard.ended(run_id)
    assert (run.status, yard.prompts["Second rain."]) == ("cancelled", 1)
    await assert_ended_once(yard, run_id)
    await assert_ledger_has(yard, run, lost=1)


async def test_a_run_that_kills_each_executor_ends_as_failed(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain", max_attempts=2)
    for attempt in (1, 2):
        killed = await yard.executor(f"e{attempt}")
        await eventually(partial(lambda wanted: yard.prompts["Second rain."] == wanted, attempt))
        await yard.recorded(run_id, "step.started", "second", times=attempt)
        await killed.kill()
    await yard.executor("last")
    run = await yard.ended(run_id)
    assert run.error is not None
    assert (run.status, run.error.code, yard.prompts["Second rain."]) == ("failed", "executor_lost", 2)
    await assert_ended_once(yard, run_id)
    await assert_ledger_has(yard, run, lost=2)
    # A retry knows of them, and records none once more.
    await yard.moves.retry(run_id)
    again = await yard.ended(run_id)
    assert (again.status, again.spending.calls) == ("succeeded", sum(yard.prompts.values()))


async def test_a_stopping_executor_hands_its_run_back_between_two_steps(yard: Yard) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    leaving = await yard.executor("leaving")
    await in_second_step(yard)
    leaving.send(signal.SIGTERM)
    assert await asyncio.wait_for(leaving.process.wait(), 5) == 0
    assert (await yard.runs.get(run_id)).status == "queued"
    await yard.executor("staying")
    run = await yard.ended(run_id)
    assert (run.status, run.attempt) == ("succeeded", 1)
    assert yard.prompts == {"First rain.": 1, "Second rain.": 1, "Third rain.": 1}
    await assert_ended_once(yard, run_id)
