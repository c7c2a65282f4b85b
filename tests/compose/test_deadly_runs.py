"""A run that executors die with, as if it took all their memory."""

from __future__ import annotations

import asyncio
import re
import signal

from support.compose import Composed
from support.stories import CHAIN
from support.visitor import Model, Visitor
from support.wire.behaviour import Held, Text


async def test_a_run_that_executors_die_with_is_tried_alone_and_fails_with_what_is_known(
    visitor: Visitor, model: Model, compose: Composed
) -> None:
    free = asyncio.Event()
    model.respond = lambda prompt: Held(Text("done"), free) if "deadly" in prompt else Text("done")
    await visitor.apply("chain", CHAIN)
    deadly = await visitor.submit("chain", topic="deadly")
    others: list[str] = []
    killed: dict[str, int] = {}
    for times in (1, 2, 3):
        await model.received("First deadly.", times=times)
        # It has renewed its leases meanwhile, with what it knows of itself.
        await asyncio.sleep(2.5)
        executor = (await visitor.run(deadly))["executor"]
        if times == 3:
            others = [await visitor.submit("chain", topic=f"other{number}") for number in range(4)]
        killed[executor] = compose.send(executor, signal.SIGKILL)
    run = await visitor.ended(deadly)
    assert {other["status"] for other in await visitor.all_ended(others)} == {"succeeded"}
    assert (run["status"], run["attempt"], run["error"]["code"]) == ("failed", 3, "executor_lost")
    known = r"it had 3 attempts; when that was last heard of, it used \d+ of 1,024 MB of memory and \d+ s of CPU"
    assert re.search(known, run["error"]["message"]), run["error"]
    for executor, starts in killed.items():
        await compose.back(executor, after=starts)
