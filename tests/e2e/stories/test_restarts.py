"""Processes come and go under running runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from support.system import SERVICES, System
from support.visitor import Model, Visitor, data_of
from support.wire.behaviour import Behaviour, Held, Json, Late, Text

LAPS = """\
flow: {name: laps}
state:
  fields:
    runner: {type: str, required: true}
    laps: {type: int, default: 0, reduce: add}
    home: {type: bool, default: false}
nodes:
  - {id: run, prompt: '{runner} runs lap {laps}.', outputs: [laps, home]}
edges:
  - {from: START, to: run}
  - {from: run, loop: {condition_field: home, max_iterations: 1000}}
config:
  llm: MODEL
"""
WALK = """\
flow: {name: walk}
state:
  fields: {one: str, two: str, three: str}
nodes:
  - {id: first, prompt: First., outputs: [one]}
  - {id: second, prompt: Second., outputs: [two]}
  - {id: third, prompt: Third., outputs: [three]}
config:
  llm: MODEL
"""
RUNS = 20
"""More than one executor has slots for."""


def lap(is_last: Callable[[], bool]) -> Callable[[str], Behaviour]:
    """Long enough that 20 runners leave most of the machine to the services that start, and short enough to drain."""
    return lambda _: Late(Json({"laps": 1, "home": is_last()}), 1)


@asynccontextmanager
async def watched(visitor: Visitor) -> AsyncIterator[set[tuple[int, int]]]:
    """How many runs are open, and how many orphaned, whenever somebody looks who gets an answer."""
    seen: set[tuple[int, int]] = set()

    async def watch() -> None:
        while True:
            # The gateway is away for a while, too.
            with suppress(httpx.TransportError):
                response = await visitor.http.get("/v1/status")
                if response.status_code != 503:
                    seen.add(counted(response))
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def counted(response: httpx.Response) -> tuple[int, int]:
    assert response.status_code == 200, response.text
    queue = response.json()["queue"]
    return queue["queued"] + queue["running"] + queue["waiting"], queue["orphaned"]


@pytest.mark.timeout(120)
async def test_a_rolling_restart_loses_no_run_and_repeats_no_step(
    visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("laps", LAPS)
    over = asyncio.Event()
    model.respond = lap(over.is_set)
    run_ids = [await visitor.submit("laps", runner=f"Runner {number}") for number in range(RUNS)]
    async with watched(visitor) as seen:
        for service in SERVICES:
            starts = system.send(service, signal.SIGTERM)
            await system.back(service, after=starts)
            await visitor.status()
    assert seen == {(RUNS, 0)}
    over.set()
    runs = await visitor.all_ended(run_ids)
    assert {run["status"] for run in runs} == {"succeeded"}
    assert {run["attempt"] for run in runs} == {1}, "no lease ran out"
    assert model.repeated_prompts == {}
    assert sum(run["outputs"]["laps"] for run in runs) == len(model.prompts)


async def test_a_stream_goes_on_after_the_gateway_was_killed(visitor: Visitor, model: Model, system: System) -> None:
    await visitor.apply("walk", WALK)
    back = asyncio.Event()
    model.replies = {"Second.": Held(Text("two"), back)}
    run_id = await visitor.submit("walk")
    seen: list[tuple[int, str]] = []
    starts = 0
    try:
        async with visitor.stream(run_id) as events:
            async for event in events:
                if event.event != "token":
                    seen.append((data_of(event)["seq"], event.event))
                if event.event == "step.finished":
                    await model.received("Second.")
                    starts = system.send("gateway", signal.SIGKILL)
    except httpx.TransportError:
        pass
    assert starts, "it was killed"
    back.set()
    await system.back("gateway", after=starts)
    async with visitor.stream(run_id, after=str(seen[-1][0])) as events:
        seen += [(data_of(event)["seq"], event.event) async for event in events if event.event != "token"]
    assert seen == [(event["seq"], event["type"]) for event in await visitor.events(run_id)]
    assert (seen[-1][1], model.repeated_prompts) == ("run.succeeded", {})


async def test_a_run_goes_on_when_its_executor_is_killed(visitor: Visitor, model: Model, system: System) -> None:
    await visitor.apply("walk", WALK)
    back = asyncio.Event()
    model.replies = {"Second.": Held(Text("two"), back)}
    run_id = await visitor.submit("walk")
    await model.received("Second.")
    executor = (await visitor.run(run_id))["executor"]
    starts = system.send(executor, signal.SIGKILL)
    await model.received("Second.", times=2)
    back.set()
    run = await visitor.ended(run_id)
    assert (run["status"], run["attempt"], model.repeated_prompts) == ("succeeded", 2, {"Second.": 2})
    await system.back(executor, after=starts)
