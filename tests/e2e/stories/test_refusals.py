"""What the system doesn't do, and how it says so."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from support.system import QUEUE_LIMIT, System
from support.visitor import Model, Visitor
from support.waiting import eventually
from support.wire.behaviour import Hang

GREET = """\
flow: {name: greet}
state:
  fields:
    name: {type: str, required: true}
    times: {type: int, default: 1}
    text: str
nodes:
  - {id: greet, prompt: 'Greet {name}.', outputs: [text]}
config:
  llm: MODEL
"""
NARROW = GREET.replace("{name: greet}", "{name: narrow}") + "  execution: {concurrency: 1}\n"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    refused: dict[str, Any] = response.json()
    assert (refused["status"], refused["code"]) == (status, code)
    return refused


async def test_a_key_makes_one_run_of_the_same_request(visitor: Visitor, model: Model) -> None:
    await visitor.apply("greet", GREET)
    path, once = "/v1/workflows/greet/runs", {"idempotency-key": "order-1"}
    first = await visitor.post(path, headers=once, inputs={"name": "Ada"})
    second = await visitor.post(path, headers=once, inputs={"name": "Ada"})
    # 200 for the first too, if the run had ended before the answer.
    assert (first.status_code in {200, 202}, second.status_code) == (True, 200)
    assert first.json()["id"] == second.json()["id"]
    problem(await visitor.post(path, headers=once, inputs={"name": "Bob"}), 422, "idempotency_mismatch")
    await visitor.ended(first.json()["id"])
    assert model.prompts == ["Greet Ada."]


async def test_twenty_requests_at_once_with_one_key_make_one_run(visitor: Visitor, model: Model) -> None:
    await visitor.apply("greet", GREET)
    path, once = "/v1/workflows/greet/runs", {"idempotency-key": "order-2"}
    responses = await asyncio.gather(
        *(visitor.post(path, headers=once, params={"wait": 20 * (n % 2)}, inputs={"name": "Eve"}) for n in range(20))
    )
    assert {response.status_code for response in responses} <= {200, 202}
    (run_id,) = {response.json()["id"] for response in responses}
    await visitor.ended(run_id)
    assert model.prompts == ["Greet Eve."]


async def test_a_workflow_that_is_not_there_is_named_with_one_that_is(visitor: Visitor) -> None:
    await visitor.apply("greet", GREET)
    refused = problem(await visitor.post("/v1/workflows/gret/runs", inputs={}), 404, "unknown_workflow")
    assert "greet" in json.dumps(refused)


async def test_inputs_are_refused_with_every_fault(visitor: Visitor, model: Model) -> None:
    await visitor.apply("greet", GREET)
    inputs = {"times": "often", "nmae": "Ada"}
    refused = problem(await visitor.post("/v1/workflows/greet/runs", inputs=inputs), 422, "invalid_inputs")
    text = json.dumps(refused)
    assert [name in text for name in ("name", "times", "nmae")] == [True] * 3
    assert len(refused["problems"]) == 3
    assert model.prompts == []


async def test_a_document_is_refused_with_every_fault_and_its_place(visitor: Visitor) -> None:
    document = GREET.replace("prompt:", "promt:").replace("type: int", "type: whole").replace("MODEL", "{}")
    refused = problem(await visitor.http.put("/v1/workflows/greet", content=document), 422, "invalid_document")
    assert len(refused["problems"]) == 2
    assert {(fault["line"], fault["code"]) for fault in refused["problems"]} == {
        (5, "unknown-type"),
        (8, "unknown-key"),
    }


@pytest.mark.parametrize("authorization", [None, "Bearer fy_aaaaaaaa_" + "b" * 32, "Bearer", "Basic Zm9vOmJhcg=="])
async def test_nobody_comes_in_without_a_key(system: System, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization else {}
    async with httpx.AsyncClient(base_url=system.url, headers=headers) as stranger:
        for path in ("/v1/runs", "/v1/workflows", "/v1/status", "/v1/keys", "/v1/agents", "/metrics", "/openapi.json"):
            response = await stranger.get(path)
            # Wrong keys of one address are slowed down, if there are many.
            if response.status_code == 429:
                assert authorization is not None
                problem(response, 429, "too_many_wrong_keys")
                continue
            problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_may_do_what_its_scopes_say(visitor: Visitor, system: System) -> None:
    await visitor.apply("greet", GREET)
    for scope, may in {"read": (True, False, False), "run": (True, True, False), "admin": (True, True, True)}.items():
        key = (await visitor.post("/v1/keys", name=scope, scopes=[scope])).json()["key"]
        async with httpx.AsyncClient(base_url=system.url, headers={"authorization": f"Bearer {key}"}) as client:
            listed = await client.get("/v1/runs")
            submitted = await client.post("/v1/workflows/greet/runs", json={"inputs": {"name": scope}})
            applied = await client.get("/v1/keys")
        assert tuple(response.is_success for response in (listed, submitted, applied)) == may, scope
        assert {response.status_code for response in (submitted, applied) if not response.is_success} <= {403}
        if submitted.is_success:
            await visitor.ended(submitted.json()["id"])


@pytest.mark.parametrize("service", ["gateway", "registry"])
async def test_a_revoked_key_is_soon_refused(visitor: Visitor, system: System, service: str) -> None:
    made = (await visitor.post("/v1/keys", name="short", scopes=["read"])).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    async with httpx.AsyncClient(base_url=system.address(service), headers=headers) as client:
        assert (await client.get("/v1/workflows")).status_code == 200
        begun = time.monotonic()
        assert (await visitor.http.delete(f"/v1/keys/{made['id']}")).status_code == 200
        while (await client.get("/v1/workflows")).status_code == 200:
            assert time.monotonic() - begun < 5  # a second, on an idle machine
        assert (await client.get("/v1/workflows")).status_code in {401, 429}


async def test_what_is_too_large_is_refused(visitor: Visitor) -> None:
    await visitor.apply("greet", GREET)
    large = await visitor.post("/v1/workflows/greet/runs", inputs={"name": "x" * 3_000_000})
    problem(large, 413, "too_large")

    async def endless() -> Any:
        for _ in range(30):
            yield b" " * 100_000

    # Nobody says how much will come.
    problem(await visitor.http.post("/v1/workflows/greet/runs", content=endless()), 413, "too_large")


async def test_a_full_queue_takes_no_more_until_there_is_room(visitor: Visitor, model: Model) -> None:
    await visitor.apply("narrow", NARROW)
    model.replies = {"Greet all.": Hang()}
    path, inputs = "/v1/workflows/narrow/runs", {"name": "all"}
    run_ids: list[str] = []
    # A gateway may refuse a run a little early: it adds the runs that it has admitted since it last counted the queue,
    # also those that have begun.
    while (await visitor.status())["queue"]["queued"] < QUEUE_LIMIT:
        response = await visitor.post(path, inputs=inputs)
        if response.status_code == 202:
            run_ids.append(response.json()["id"])
        assert len(run_ids) <= 2 * QUEUE_LIMIT
    response = await visitor.post(path, inputs=inputs)
    problem(response, 429, "queue_full")
    assert int(response.headers["retry-after"]) >= 1
    cancelled = (await visitor.post("/v1/runs/cancel", workflow="narrow")).json()
    assert cancelled["count"] == len(run_ids)
    await visitor.all_ended(run_ids)

    async def taken() -> str | None:
        response = await visitor.post(path, inputs={"name": "one"})
        return response.json()["id"] if response.is_success else None

    run_id = await eventually(taken)
    assert (await visitor.ended(run_id))["status"] == "succeeded"
