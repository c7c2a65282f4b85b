from __future__ import annotations

from typing import Any

import httpx

from flowyard.storage.database import Database
from services.registry.conftest import Registry, Starting
from services.registry.test_workflows import problem
from support.waiting import eventually

TRANSLATOR: dict[str, Any] = {
    "id": "translator-1",
    "name": "translator",
    "kind": "http",
    "version": "1.4.0",
    "host": "http://127.0.0.1:9000",
    "capabilities": {"languages": ["de"]},
}


async def test_an_agent_registers_and_is_found(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/agents", json=TRANSLATOR)
    assert (response.status_code, response.headers["location"]) == (201, "/v1/agents/translator-1")
    agent = response.json()
    assert {name: agent[name] for name in TRANSLATOR} == TRANSLATOR
    assert (agent["ttl_s"], agent["heartbeat_s"], agent["slots"], agent["slots_used"]) == (60, 20, None, None)
    assert (await client.get("/v1/agents/translator-1")).json() == agent
    assert (await client.get("/v1/agents")).json() == {"items": [agent], "next_cursor": None}


async def test_to_register_again_is_an_update(client: httpx.AsyncClient) -> None:
    first = (await client.post("/v1/agents", json=TRANSLATOR)).json()
    again = await client.post("/v1/agents", json={**TRANSLATOR, "version": "1.5.0"})
    assert (again.status_code, again.json()["version"]) == (200, "1.5.0")
    assert again.json()["registered_at"] == first["registered_at"]


async def test_a_heartbeat_reports_the_load(client: httpx.AsyncClient) -> None:
    before = (await client.post("/v1/agents", json=TRANSLATOR)).json()
    response = await client.post("/v1/agents/translator-1/heartbeat", json={"slots": 4, "slots_used": 1})
    assert response.status_code == 200
    after = (await client.get("/v1/agents/translator-1")).json()
    assert (after["slots"], after["slots_used"]) == (4, 1)
    assert after["heartbeat_at"] > before["heartbeat_at"]
    for wrong in ({"slots": True}, {"slots": -1}, {"slotz": 1}):
        response = await client.post("/v1/agents/translator-1/heartbeat", json=wrong)
        assert problem(response) == (422, "invalid_request")


async def test_an_unknown_agent_is_answered_that_it_is_unknown(client: httpx.AsyncClient) -> None:
    for response in (
        await client.post("/v1/agents/stranger/heartbeat", json={}),
        await client.get("/v1/agents/stranger"),
        await client.delete("/v1/agents/stranger"),
    ):
        assert problem(response) == (404, "unknown_agent")


async def test_an_agent_that_leaves_is_gone(client: httpx.AsyncClient) -> None:
    await client.post("/v1/agents", json=TRANSLATOR)
    response = await client.delete("/v1/agents/translator-1")
    assert (response.status_code, response.content) == (204, b"")
    assert problem(await client.post("/v1/agents/translator-1/heartbeat", json={})) == (404, "unknown_agent")


async def test_a_silent_agent_is_swept_away(starting: Starting, database: Database) -> None:
    async with starting(agent_ttl_s=1, sweep_s=0.05) as registry:
        await registry.client.post("/v1/agents", json=TRANSLATOR)
        await eventually(lambda: database.value("SELECT count(*) = 0 FROM agents"))
        assert (await registry.client.get("/v1/agents")).json()["items"] == []


async def test_lists_come_in_pages_and_by_kind(client: httpx.AsyncClient) -> None:
    for name, kind in (("a", "http"), ("b", "nats"), ("c", "http")):
        await client.post("/v1/agents", json={**TRANSLATOR, "id": name, "kind": kind})
    first = (await client.get("/v1/agents", params={"limit": 2})).json()
    assert [a["id"] for a in first["items"]] == ["a", "b"]
    rest = (await client.get("/v1/agents", params={"cursor": first["next_cursor"]})).json()
    assert ([a["id"] for a in rest["items"]], rest["next_cursor"]) == (["c"], None)
    assert [a["id"] for a in (await client.get("/v1/agents", params={"kind": "nats"})).json()["items"]] == ["b"]


DEEP = "[" * 900 + "]" * 900


NO_REGISTRATION = [
    '{"id": "a.b", "name": "a", "kind": "http"}',
    '{"id": "a", "name": "a", "kind": "cook"}',
    '{"id": "a", "name": "", "kind": "http"}',
    '{"id": "a", "name": "a\\u0000", "kind": "http"}',
    '{"id": "a", "name": "\\ud83d", "kind": "http"}',
    '{"id": "a", "name": "a", "kind": "http", "hosst": "b"}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": "\\ud83d"}}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"\\ud83d": 1}}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": "\\u0000"}}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": 1, "x": 2}}',
    '{"id": "a", "id": "b", "name": "a", "kind": "http"}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": NaN}}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": 1e999}}',
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": ' + DEEP + "}}",
    '{"id": "a", "name": "a", "kind": "http", "capabilities": {"x": "' + "x" * 70_000 + '"}}',
    "{",
    "",
]


async def test_what_is_no_registration_is_refused(client: httpx.AsyncClient) -> None:
    for body in NO_REGISTRATION:
        response = await client.post("/v1/agents", content=body, headers={"content-type": "application/json"})
        assert problem(response) == (422, "invalid_request"), body[:80]


async def test_capabilities_may_hold_any_text(client: httpx.AsyncClient) -> None:
    odd = {"text": "\\u0000 ☃ 😀", "number": 10**30}
    response = await client.post("/v1/agents", json={**TRANSLATOR, "capabilities": odd})
    assert (response.status_code, response.json()["capabilities"]) == (201, odd)


async def test_an_agent_needs_no_more_than_the_right_to_run(registry: Registry) -> None:
    async with registry.as_one_who_may("run") as client:
        assert (await client.post("/v1/agents", json=TRANSLATOR)).status_code == 201
        assert (await client.post("/v1/agents/translator-1/heartbeat", json={})).status_code == 200
        assert problem(await client.delete("/v1/agents/translator-1")) == (403, "forbidden")
    async with registry.as_one_who_may("read") as client:
        assert problem(await client.post("/v1/agents", json=TRANSLATOR)) == (403, "forbidden")
        assert (await client.get("/v1/agents")).status_code == 200


async def test_an_agent_is_neither_changed_nor_kept_alive_by_another_key(registry: Registry) -> None:
    async with registry.as_one_who_may("run") as mine, registry.as_one_who_may("admin") as other:
        assert (await mine.post("/v1/agents", json=TRANSLATOR)).status_code == 201
        assert problem(await other.post("/v1/agents", json={**TRANSLATOR, "host": "evil"})) == (409, "agent_taken")
        assert problem(await other.post("/v1/agents/translator-1/heartbeat", json={"slots": 9})) == (409, "agent_taken")
        agent = (await mine.get("/v1/agents/translator-1")).json()
        assert (agent["host"], agent["slots"]) == (TRANSLATOR["host"], None)
        assert (await other.delete("/v1/agents/translator-1")).status_code == 204


async def test_nobody_is_an_executor_over_http(client: httpx.AsyncClient) -> None:
    assert problem(await client.post("/v1/agents", json={**TRANSLATOR, "kind": "executor"})) == (422, "invalid_request")


async def test_slots_are_bounded(client: httpx.AsyncClient) -> None:
    await client.post("/v1/agents", json={**TRANSLATOR, "capabilities": {"slots": 10**9}})
    assert (await client.get("/v1/agents/translator-1")).json()["slots"] is None
    refused = await client.post("/v1/agents/translator-1/heartbeat", json={"slots": 10_001})
    assert problem(refused) == (422, "invalid_request")
