"""Runs of three steps that are held in the second, while somebody does something to the system."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import httpx

from support.stories import CHAIN
from support.visitor import JsonObject, Model, Visitor
from support.waiting import eventually
from support.wire.behaviour import Held, Text

STEPS: Final = ("first", "second", "third")
WITHIN_S: Final = 60


async def in_second_step(visitor: Visitor, model: Model, count: int) -> tuple[list[str], asyncio.Event]:
    """So many runs; the event lets them go on."""
    free = asyncio.Event()
    topics = [f"t{number}" for number in range(count)]
    model.replies |= {f"Second {topic}.": Held(Text("done"), free) for topic in topics}
    await visitor.apply("chain", CHAIN)
    run_ids = [await visitor.submit("chain", topic=topic) for topic in topics]
    for topic in topics:
        await model.received(f"Second {topic}.")
    return run_ids, free


async def assert_ended_once(visitor: Visitor, model: Model, run_ids: list[str]) -> list[JsonObject]:
    """Each run succeeded, each step was recorded once, and each call had one key."""

    async def look() -> bool:
        try:
            return (await visitor.http.get("/v1/status")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(look, WITHIN_S)
    runs = await visitor.all_ended(run_ids)
    assert [run["status"] for run in runs] == ["succeeded"] * len(run_ids)
    for run_id in run_ids:
        events = Counter((event["type"], event["data"].get("node")) for event in await visitor.events(run_id))
        assert [events["step.finished", step] for step in STEPS] == [1, 1, 1]
        assert events["run.succeeded", None] == 1
    keys = {request.headers["idempotency-key"] for request in model.server.requests}
    assert len(keys) == len(STEPS) * len(run_ids)
    return runs
