"""Executors come and go under load."""

from __future__ import annotations

import asyncio
from collections import Counter

from support.compose import Composed
from support.stories import CHAIN
from support.system import EXECUTORS
from support.visitor import Model, Visitor
from support.waiting import eventually
from support.wire.behaviour import Late, Text

RUNS = 200


async def submitted(visitor: Visitor, topic: str) -> str:
    """Its id. Comes again as long as the queue is full."""

    async def try_once() -> str | None:
        response = await visitor.post("/v1/workflows/chain/runs", inputs={"topic": topic})
        if response.status_code == 429:
            return None
        assert response.is_success, response.text
        return str(response.json()["id"])

    accepted: str = await eventually(try_once, 120, pause_s=0.2)
    return accepted


async def executors_of(visitor: Visitor, run_ids: list[str]) -> set[str]:
    events = [event for run_id in run_ids for event in await visitor.events(run_id)]
    return {event["data"]["executor"] for event in events if event["type"] == "run.claimed"}


async def test_scaling_from_one_to_four_and_back_under_load_loses_nothing_and_repeats_nothing(
    visitor: Visitor, model: Model, compose: Composed
) -> None:
    await visitor.apply("chain", CHAIN)
    # On a busy machine containers start slowly, and a single executor must not have done everything by then.
    model.respond = lambda _: Late(Text("done"), 5)
    await compose.project.scale(1)
    load = asyncio.gather(*(submitted(visitor, f"t{number}") for number in range(RUNS)))
    await eventually(lambda: len(model.prompts) > 16, 30)
    await compose.project.scale(4)
    await eventually(lambda: model.server.open > 2 * 16, 60)
    model.respond = lambda _: Late(Text("done"), 1)
    await compose.project.scale(1)
    run_ids = await load
    runs = await visitor.all_ended(run_ids)
    await compose.project.scale(len(EXECUTORS))
    assert Counter(run["status"] for run in runs) == {"succeeded": RUNS}
    keys = Counter(request.headers["idempotency-key"] for request in model.server.requests)
    assert (len(keys), set(keys.values()), {run["attempt"] for run in runs}) == (3 * RUNS, {1}, {1})
    assert len(await executors_of(visitor, run_ids)) >= 3
