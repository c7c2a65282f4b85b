"""Workflows that a model has written to keep a service busy: their tests end in time, beside all other work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import httpx
import pytest

from abuse.conftest import Starting
from flowyard.drafts.check import MOST_BYTES
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from support import queued
from support.campaigns import Campaigns
from support.holding import LONGEST_OF_SERVICE_S, least_held_s
from support.waiting import eventually
from support.wire.behaviour import Text
from support.wire.openai import openai_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ASSISTANT: Final = """\
flow: {name: drafts}
state: {fields: {draft: {type: str, format: workflow}}}
nodes:
  - {id: write, prompt: Write., outputs: [draft], retry: 0}
config:
  llm: {provider: hosted_vllm, model: m, api_base: 'URL'}
"""
LOOPS: Final = """\
flow: {name: hostile}
state:
  fields: {n: {type: TYPE, default: FIRST}, m: {type: int, default: 0}, done: {type: bool, default: false}}
nodes:
  - {id: inner, set: {n: {expr: n + n}}}
  - {id: outer, set: {m: {expr: m + 1}}}
edges:
  - {from: START, to: inner}
  - {from: inner, loop: {until: done, max_iterations: 1000, exit_to: outer}}
  - {from: outer, loop: {to: inner, until: done, max_iterations: 1000}}
tests:
  - {name: t, expect: {outputs: {m: 1000}}}
"""
MAP: Final = f"""\
flow: {{name: hostile}}
state:
  fields: {{xs: {{type: 'list[int]', required: true}}, texts: 'list[str]'}}
nodes:
  - {{id: each, prompt: "x {{item}}", outputs: [texts]}}
edges:
  - {{from: START, parallel: {{items_field: xs, target_node: each, collect_field: texts}}}}
  - {{from: each, to: END}}
tests:
  - {{name: t, inputs: {{xs: [{",".join("1" * 25_000)}]}}, replies: {{each: x}}}}
"""
CHAIN: Final = "".join(
    [
        "flow: {name: hostile}\nstate: {fields: {a: {type: str, default: ''}}}\nnodes:\n",
        *(f"  - {{id: n{number}, set: {{a: '{{a}}x'}}}}\n" for number in range(900)),
        "tests:\n",
        *(f"  - {{name: t{number}}}\n" for number in range(1000)),
    ]
)
DRAFTS: Final = {
    "endless loops": LOOPS.replace("TYPE", "int").replace("FIRST", "0"),
    "texts that double": LOOPS.replace("TYPE", "str").replace("FIRST", "x"),
    "lists that double": LOOPS.replace("TYPE", "'list[int]'").replace("FIRST", "[1]"),
    "a map over many items": MAP,
    "many nodes and many tests": CHAIN,
}


Look: TypeAlias = Callable[[str], Awaitable[float]]
"""Has services look at a draft. Returns the longest time in seconds for which one of them was held so far."""


KINDS: Final = pytest.mark.parametrize(
    "kinds", [("endless loops",), pytest.param(tuple(DRAFTS), marks=pytest.mark.long)], ids=["one", "all"]
)


@KINDS
async def test_no_draft_holds_the_event_loop_of_an_executor(
    database: Database, starting: Starting, campaign: Campaigns, kinds: Sequence[str]
) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Look]:
        reply = ""
        async with openai_server(lambda _: Text(reply)) as model, starting("executor") as executor:
            await queued.apply(database, ASSISTANT.replace("URL", model.url))

            async def look(draft: str) -> float:
                nonlocal reply
                reply = f"```yaml\n{draft}```"
                error = await ended(database, await queued.submit(database, "drafts"))
                # It was valid: what the tests did was wrong, if anything.
                assert error is None or "the test '" in error["message"]
                return executor.longest_held_s

            yield look

    await no_draft_holds(opened, campaign, kinds)


@KINDS
async def test_no_draft_holds_the_event_loop_of_a_registry_or_of_the_executor_that_runs_its_tests(
    database: Database, starting: Starting, campaign: Campaigns, kinds: Sequence[str]
) -> None:
    key = (await Keys(database).create("reader", frozenset({"read"})))[1]

    @asynccontextmanager
    async def opened() -> AsyncIterator[Look]:
        async with (
            starting("executor") as executor,
            starting("registry") as registry,
            httpx.AsyncClient(base_url=registry.url, headers={"authorization": f"Bearer {key}"}, timeout=60) as client,
        ):

            async def look(draft: str) -> float:
                response = await client.post("/v1/drafts", json={"text": draft})
                assert response.status_code == 200, response.text
                shown = response.json()
                assert shown["valid"]
                assert shown["remarks"] == []
                return max(registry.longest_held_s, executor.longest_held_s)

            yield look

    await no_draft_holds(opened, campaign, kinds)


async def no_draft_holds(
    opened: Callable[[], AbstractAsyncContextManager[Look]], campaign: Campaigns, kinds: Sequence[str]
) -> None:
    """The same services look at one draft after the other."""
    async with AsyncExitStack() as stack:
        look = await stack.enter_async_context(opened())

        async def held_s(draft: str) -> float:
            nonlocal look
            held = await look(draft)
            if held >= LONGEST_OF_SERVICE_S:
                # These services would only say when they are held for even longer.
                await stack.aclose()
                look = await stack.enter_async_context(opened())
            return held

        for kind in kinds:
            draft = DRAFTS[kind]
            assert len(draft) < MOST_BYTES
            with campaign("drafts").attempt(kind):
                assert await least_held_s(partial(held_s, draft)) < LONGEST_OF_SERVICE_S, kind


async def ended(database: Database, run_id: UUID) -> Any:
    """The run's error."""
    statement = "SELECT error FROM runs WHERE id = $1 AND finished_at IS NOT NULL"
    return (await eventually(lambda: database.row(statement, run_id), 60, pause_s=0.2))["error"]
