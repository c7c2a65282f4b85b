"""What is left when the containers are gone."""

from __future__ import annotations

import asyncio
import time

from support.chains import assert_ended_once, in_second_step
from support.compose import OURS, Composed, inspect
from support.system import EXECUTORS
from support.visitor import Model, Visitor


async def test_after_down_and_up_everything_is_there_and_runs_go_on_where_they_were(
    visitor: Visitor, model: Model, compose: Composed
) -> None:
    (done,), free = await in_second_step(visitor, model, 1)
    free.set()
    run = await visitor.ended(done)
    events = await visitor.events(done)
    model.server.requests.clear()
    at_work, free = await in_second_step(visitor, model, 2)
    begun = time.monotonic()
    stopping = asyncio.create_task(compose.project.does("stop"))
    await asyncio.sleep(2)  # all are on their way down
    free.set()
    await stopping
    compose.measured.append(f"docker compose stop, with runs at work: {time.monotonic() - begun:.1f} s")
    services = [*(name for name in OURS if name != "executor"), *EXECUTORS]
    assert {inspect(compose.project.container(name))["State"]["ExitCode"] for name in services} == {0}
    await compose.project.does("down")
    await asyncio.to_thread(compose.project.up, "--scale", f"executor={len(EXECUTORS)}")
    assert (await visitor.run(done), await visitor.events(done)) == (run, events)
    await assert_ended_once(visitor, model, at_work)
    assert model.repeated_prompts == {}
