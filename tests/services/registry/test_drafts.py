"""`POST /v1/drafts`: what is shown of a workflow that is being written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from flowyard.tasks import cancel
from services.registry.test_workflows import HAIKU, problem
from support.draft_testing import serving_draft_tests

ENDLESS = """\
flow: {name: endless}
state: {fields: {n: {type: int, default: 0}, m: {type: int, default: 0}, done: {type: bool, default: false}}}
nodes:
  - {id: inner, set: {n: {expr: n + 1}}}
  - {id: outer, set: {m: {expr: m + 1}}}
edges:
  - {from: START, to: inner}
  - {from: inner, loop: {until: done, max_iterations: 1000, exit_to: outer}}
  - {from: outer, loop: {to: inner, until: done, max_iterations: 1000}}
tests:
  - {name: a million steps, expect: {outputs: {m: 1000}}}
"""
TESTS = "tests:\n  - {name: writes, inputs: {topic: rain}, replies: {write: Drops}, expect: {outputs: {poem: Drops}}}\n"


@pytest.fixture
async def tester(nats_url: str) -> AsyncIterator[None]:
    async with serving_draft_tests(nats_url):
        yield


def reply(document: str) -> str:
    return f"Here:\n```yaml\n{document}```"


async def draft(client: httpx.AsyncClient, text: str, last: str | None = None) -> httpx.Response:
    return await client.post("/v1/drafts", json={"text": text, "last": last})


@pytest.mark.usefixtures("tester")
async def test_a_draft_is_checked_and_its_tests_are_run_and_nothing_is_applied(client: httpx.AsyncClient) -> None:
    response = await draft(client, reply(HAIKU + TESTS), reply(HAIKU))
    assert response.status_code == 200
    shown = response.json()
    assert (shown["valid"], shown["name"], shown["problems"]) == (True, "haiku", [])
    assert shown["tests"] == [{"name": "writes", "passed": True, "faults": []}]
    assert shown["difference"].startswith("--- before\n+++ now\n")
    assert (await client.get("/v1/workflows")).json()["items"] == []


async def test_a_draft_is_shown_without_its_tests_while_there_is_no_executor(client: httpx.AsyncClient) -> None:
    shown = (await draft(client, reply(HAIKU + TESTS))).json()
    assert (shown["valid"], shown["name"]) == (True, "haiku")
    assert shown["tests"] == [{"name": "writes", "passed": None, "faults": []}]
    assert shown["remarks"] == ["the tests weren't run: no executor answered"]


@pytest.mark.usefixtures("tester")
async def test_all_that_is_wrong_with_many_tests_is_bounded(client: httpx.AsyncClient) -> None:
    fields = ", ".join(f"f{number}: x" for number in range(12))
    state = "".join(f"    f{number}: {{type: str, default: '{'y' * 900}'}}\n" for number in range(12))
    cases = "".join(f"  - {{name: t{number}, expect: {{outputs: {{{fields}}}}}}}\n" for number in range(400))
    flow = "flow: {name: wrong}\nstate:\n  fields:\n"
    nodes = "nodes:\n  - {id: keep, set: {f0: z}}\n"
    tests = (await draft(client, f"{flow}{state}{nodes}tests:\n{cases}")).json()["tests"]
    assert [test["passed"] for test in tests] == [False] * 400
    assert len(tests[0]["faults"]) == 11
    assert tests[0]["faults"][-1] == "and 2 more"
    assert tests[-1]["faults"] == ["what is wrong isn't shown: too much is wrong with the tests before it"]


async def test_a_draft_is_checked_as_the_installation_would(client: httpx.AsyncClient) -> None:
    llm = "config: {llm: {provider: openai, model: m, api_key_env: PGPASSWORD}}\n"
    shown = (await draft(client, HAIKU + llm)).json()
    assert not shown["valid"]
    assert [problem["code"] for problem in shown["problems"]] == ["variable-not-allowed"]


async def test_a_request_without_a_text_is_refused(client: httpx.AsyncClient) -> None:
    assert problem(await client.post("/v1/drafts", json={})) == (422, "invalid_request")


@pytest.mark.usefixtures("tester")
async def test_drafts_with_long_tests_keep_nobody_from_applying_documents(client: httpx.AsyncClient) -> None:
    drafts = [asyncio.create_task(draft(client, ENDLESS)) for _ in range(3)]
    try:
        # The first one is at work by then, since its request was sent before.
        assert (await client.post("/v1/validate", content=HAIKU)).json()["valid"]
        assert (await client.put("/v1/workflows/haiku", content=HAIKU)).status_code == 201
        assert not any(task.done() for task in drafts)
    finally:
        await cancel(drafts)


async def test_what_replies_cost_at_most_is_known_without_litellm(client: httpx.AsyncClient) -> None:
    llm = "config: {llm: {provider: openai, model: gpt-4o-mini, max_tokens: 1000}}\n"
    cost = (await draft(client, HAIKU + llm)).json()["cost"]
    # A first try and three more, at 0.60 dollars per million tokens.
    assert (cost["calls"], cost["replies_usd"], cost["usd"]) == (4, "0.0024", None)
    assert "config.budget.usd" in cost["why"]
