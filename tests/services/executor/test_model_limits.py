"""Limits on model calls are kept by all executors together."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from flowyard.storage.overview import Overview
from flowyard.storage.pace import Waits
from support.attempts import WireModel, node_of
from support.executors import Yard
from support.in_process import InProcess, executing
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Status
from support.wire.server import Request

ONE = """\
flow: {name: one}
state:
  fields:
    topic: {type: str, required: true}
    out: str
nodes:
  - {id: write, prompt: 'Write {topic}.', outputs: [out], timeout: 5}
config:
  llm: MODEL
"""


@dataclass
class Watched:
    """Answers after `for_s` seconds. `most`: how many calls were at work at once; `times`: when each arrived."""

    for_s: float = 0.2
    at_work: int = 0
    most: int = 0
    times: list[float] = field(default_factory=list)
    refusals: list[Status] = field(default_factory=list)

    async def answer(self, request: Request) -> str | Behaviour:
        self.times.append(time.monotonic())
        if self.refusals:
            return self.refusals.pop()
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(self.for_s)
        self.at_work -= 1
        return node_of(request)

    def within(self, seconds: float) -> int:
        """Calls in the first so many seconds."""
        return sum(at < self.times[0] + seconds for at in self.times)


@pytest.fixture
def watched(wire: WireModel) -> Watched:
    watched = Watched()
    wire.answers["write"] = watched.answer
    return watched


@asynccontextmanager
async def two_executors(yard: Yard, limits: dict[str, Any], **given: Any) -> AsyncIterator[list[InProcess]]:
    settings = {"model_limits": json.dumps(limits), "slots": 8, "poll_s": 0.1, **given}
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(executing(yard, name, **settings)) for name in ("one", "two")]


async def run_many(yard: Yard, count: int, document: str = ONE) -> None:
    """Returns when they have succeeded."""
    name = await yard.apply(document)
    ids = [await yard.submit(name, topic=str(n)) for n in range(count)]
    assert {(await yard.ended(run_id)).status for run_id in ids} == {"succeeded"}


async def test_executors_share_the_places_of_a_provider(yard: Yard, watched: Watched) -> None:
    async with two_executors(yard, {"hosted_vllm": {"concurrency": 2}}) as both:
        await run_many(yard, 12)
        assert all(each.count("runs_claimed_total") for each in both)
    assert watched.most == 2


async def test_a_documents_concurrency_holds_over_all_executors(yard: Yard, watched: Watched) -> None:
    async with two_executors(yard, {}):
        await run_many(yard, 9, ONE.replace("timeout: 5", "llm: {concurrency: 3}"))
    assert watched.most == 3


async def test_executors_share_the_requests_per_minute(yard: Yard, watched: Watched) -> None:
    watched.for_s = 0
    async with two_executors(yard, {"hosted_vllm": {"requests_per_minute": 240}}):
        await run_many(yard, 12)
    # Four a second, and a second's worth at once.
    assert watched.within(1) <= 9
    assert watched.times[-1] - watched.times[0] > 1.5


async def test_tokens_that_a_call_has_not_used_are_given_back(yard: Yard, watched: Watched) -> None:
    watched.for_s = 0
    # 15 seconds' worth are one call's bound, so the next waits until it is known that the call has used two tokens.
    async with two_executors(yard, {"hosted_vllm": {"tokens_per_minute": 1000}}):
        await run_many(yard, 6)


async def test_a_wait_takes_none_of_the_steps_time(yard: Yard, watched: Watched) -> None:
    watched.for_s = 0.9
    async with two_executors(yard, {"hosted_vllm": {"concurrency": 1}}):
        await run_many(yard, 4, ONE.replace("timeout: 5", "timeout: 2"))
    assert watched.most == 1


async def test_a_call_keeps_its_place_for_longer_than_a_lease(yard: Yard, watched: Watched) -> None:
    watched.for_s = 1.5
    async with two_executors(yard, {"hosted_vllm": {"concurrency": 1}}, lease_s=0.6):
        await run_many(yard, 3)
    assert watched.most == 1


async def test_a_drain_ends_the_wait(yard: Yard, wire: WireModel) -> None:
    wire.hold.add("write")
    name = await yard.apply(ONE.replace("timeout: 5", "llm: {concurrency: 1}"))
    async with executing(yard, poll_s=0.1, drain_s=30) as leaving:
        await yard.submit(name, topic="rain")
        await eventually(wire.holding.is_set)
        waiting = await yard.submit(name, topic="snow")
        await eventually(lambda: leaving.parts.model_limits.waits.now)
        leaving.parts.draining.set()

        async def is_handed_back() -> bool:
            return (await yard.runs.get(waiting)).status == "queued"

        await eventually(is_handed_back, 5)


@pytest.mark.parametrize("limits", [{}, {"hosted_vllm": {"requests_per_minute": 60_000}}])
async def test_a_429_holds_back_the_calls_of_all_executors(
    yard: Yard, watched: Watched, limits: dict[str, Any]
) -> None:
    watched.for_s = 0
    watched.refusals = [Status(429, {"Retry-After": "2"})]
    async with two_executors(yard, limits) as both:
        name = await yard.apply(ONE)
        first = await yard.submit(name, topic="first")
        await eventually(lambda: watched.times)
        await asyncio.sleep(0.3)  # both know of it
        await run_many(yard, 12)
        assert all(each.count("runs_claimed_total") for each in both)
        assert (await yard.ended(first)).status == "succeeded"
    assert watched.within(1.9) == 1


async def test_a_model_with_a_fallback_is_not_waited_for_after_a_429(yard: Yard, watched: Watched) -> None:
    watched.for_s = 0
    watched.refusals = [Status(429, {"Retry-After": "9"})]
    document = ONE.replace("timeout: 5", "llm: {model: n, fallbacks: [MODEL]}")
    async with executing(yard, poll_s=0.1):
        await run_many(yard, 1, document)
        await run_many(yard, 1, document.replace("Write", "Write about"))
    assert watched.within(4) == len(watched.times)


async def test_who_waits_is_visible(yard: Yard, wire: WireModel) -> None:
    wire.hold.add("write")
    name = await yard.apply(ONE.replace("timeout: 5", "llm: {concurrency: 1}"))
    limit = "one hosted_vllm/m"
    async with executing(yard, poll_s=0.1) as executor:
        ids = [await yard.submit(name, topic=str(n)) for n in range(3)]
        await eventually(lambda: executor.count("model_calls_waiting", limit=limit) == 2)

        async def written() -> Any:
            # They are counted a moment before they are written.
            waits = await Overview(yard.database).limit_waits()
            return waits if [each.calls for each in waits] == [2] else None

        [waits] = await eventually(written)
        assert (waits.limit, waits.calls, 1 <= waits.longest_s < 9) == (limit, 2, True)
        assert not waits.rate_limited

        async def events() -> list[dict[str, Any]] | None:
            entries = [entry for run_id in ids for entry in await yard.entries(run_id)]
            waits = [dict(entry.data) for entry in entries if entry.type == "model.waiting"]
            return waits if len(waits) == 2 else None

        event = {
            "node": "write",
            "visit": 1,
            "provider": "hosted_vllm",
            "model": "m",
            "limit": limit,
            "rate_limited": False,
        }
        assert await eventually(events) == [event, event]
        for run_id in ids:
            executor.parts.running[run_id].stop("cancelled")
        await eventually(lambda: not executor.count("model_calls_waiting", limit=limit))

        async def nobody_waits() -> bool:
            return await Overview(yard.database).limit_waits() == []

        await eventually(nobody_waits)
        assert executor.count("model_limit_wait_seconds_count", limit=limit) == 3


@pytest.mark.parametrize(
    ("limits", "limit"),
    [({}, "hosted_vllm/m"), ({"hosted_vllm": {"requests_per_minute": 60_000}}, "hosted_vllm")],
    ids=["no limit", "a limit"],
)
async def test_who_waits_because_of_a_429_is_visible_as_such(
    yard: Yard, watched: Watched, limits: dict[str, Any], limit: str
) -> None:
    watched.for_s = 0
    watched.refusals = [Status(429, {"Retry-After": "4"})]
    async with executing(yard, poll_s=0.1, model_limits=json.dumps(limits)):
        name = await yard.apply(ONE)
        await yard.submit(name, topic="first")
        await eventually(lambda: watched.times)
        await asyncio.sleep(0.3)  # the 429 is known
        second = await yard.submit(name, topic="second")

        async def waits() -> list[Waits]:
            return await Overview(yard.database).limit_waits()

        [shown] = await eventually(waits)
        assert (shown.limit, shown.calls, shown.rate_limited) == (limit, 1, True)
        await yard.ended(second)
        [event] = [entry.data for entry in await yard.entries(second) if entry.type == "model.waiting"]
    assert (event["limit"], event["rate_limited"]) == (limit, True)
