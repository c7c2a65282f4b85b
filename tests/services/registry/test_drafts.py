"""`POST /v1/drafts`: what is shown of a workflow that is being written."""

from __future__ import annotations

import asyncio

import httpx

from flowyard.tasks import cancel
from services.registry.test_workflows import HAIKU, problem

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


def reply(document: str) -> str:
    return f"Here:\n```yaml\n{document}```"


async def draft(client: httpx.AsyncClient, text: str, last: str | None = None) -> httpx.Response:
    return await client.post("/v1/drafts", json={"text": text, "last": last})


async def test_a_draft_is_checked_and_its_tests_are_run_and_nothing_is_applied(client: httpx.AsyncClient) -> None:
    response = await draft(client, reply(HAIKU + TESTS), reply(HAIKU))
    assert response.status_code == 200
    shown = response.json()
    assert (shown["valid"], shown["name"], shown["problems"]) == (True, "haiku", [])
    assert shown["tests"] == [{"name": "writes", "passed": True, "faults": []}]
    assert shown["difference"].startswith("--- before\n+++ now\n")
    assert (await client.get("/v1/workflows")).json()["items"] == []


async def test_a_draft_is_checked_as_the_installation_would(client: httpx.AsyncClient) -> None:
    llm = "config: {llm: {provider: openai, model: m, api_key_env: PGPASSWORD}}\n"
    shown = (await draft(client, HAIKU + llm)).json()
    assert not shown["valid"]
    assert [problem["code"] for problem in shown["problems"]] == ["variable-not-allowed"]


async def test_a_request_without_a_text_is_refused(client: httpx.AsyncClient) -> None:
    assert problem(await client.post("/v1/drafts", json={})) == (422, "invalid_request")


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
