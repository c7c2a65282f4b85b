"""What is written down of requests, with the addresses from which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from flowyard.api.audit import AuditEntry, checked
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings
from services.gateway.conftest import POEM, Gateway, Starting, submit

ADDRESS = "192.0.2.7"


@pytest.fixture
async def both(starting: Starting, database_url: str, nats_url: str) -> AsyncIterator[Gateway]:
    """The gateway, behind a proxy, in front of a registry."""
    ending, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = RegistrySettings.model_validate({"database_url": database_url, "nats_url": nats_url, "port": 0})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_registry(settings, ending, on_listening=port.set_result))
        url = f"http://127.0.0.1:{await port}"
        async with starting(registry_url=url, trusted_proxies="127.0.0.1") as gateway:
            yield gateway
        ending.set()


async def log_of(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit", params={"order": "oldest", **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_every_act_over_http_is_written_down_with_its_key_and_its_address(both: Gateway) -> None:
    async with both.as_one_who_may("admin") as admin:
        admin.headers["x-forwarded-for"] = ADDRESS
        await admin.put("/v1/workflows/poem", content=POEM)
        await admin.put("/v1/workflows/poem", content=POEM.replace("priority: 7", "priority: 8"))
        await admin.post("/v1/workflows/poem/rollback", json={"revision": 1})
        run = await submit(admin)
        # Past the short way of a submit.
        await admin.post("/v1/workflows/poem/runs?wait=0&wait=0", json={"inputs": {"topic": "rain"}})
        fork = (await admin.post(f"/v1/runs/{run}/fork", json={})).json()["id"]
        await admin.post(f"/v1/runs/{run}/cancel")
        await admin.post("/v1/runs/cancel", json={"ids": [fork]})
        agent = {"id": "a", "name": "a", "kind": "http", "version": "1", "host": "here"}
        await admin.post("/v1/agents", json=agent)
        await admin.delete("/v1/agents/a")
        key = (await admin.post("/v1/keys", json={"name": "ci", "scopes": ["run"]})).json()["id"]
        await admin.post(f"/v1/keys/{key}/rotate", json={})
        await admin.delete(f"/v1/keys/{key}")
        await admin.delete("/v1/workflows/poem", params={"force": "true"})
        # Refused, so nobody did it.
        await admin.post(f"/v1/runs/{run}/cancel")
        await admin.delete("/v1/agents/a")
        items = await log_of(admin)
        own_id = both.keys["admin"].split("_")[1]
        assert [item["act"] for item in items] == [
            "workflow.applied", "workflow.applied", "workflow.restored", "run.submitted", "run.submitted", "run.forked",
            "run.cancelled", "run.cancelled", "agent.removed", "key.created", "key.rotated", "key.revoked",
            "workflow.deleted", "run.cancelled",
        ]  # fmt: skip
        assert {(item["key_id"], item["who"], item["address"]) for item in items} == {(own_id, "admin", ADDRESS)}
        assert [item["objects"] for item in items[5:8]] == [[fork], [run], [fork]]
        assert items[5]["details"] == {"origin": run}
        assert len(list(checked(map(AuditEntry.model_validate, items)))) == len(items)
        assert [item["act"] for item in await log_of(admin, object=run)] == ["run.submitted", "run.cancelled"]


async def test_pages_go_through_the_whole_log_in_both_orders(gateway: Gateway) -> None:
    async with gateway.as_one_who_may("admin") as admin:
        for number in range(5):
            await admin.post("/v1/keys", json={"name": f"k{number}", "scopes": ["run"]})
        for order, expected in (("oldest", [1, 2, 3, 4, 5]), ("newest", [5, 4, 3, 2, 1])):
            numbers: list[int] = []
            cursor = None
            while True:
                query: dict[str, Any] = {"order": order, "limit": 2} | ({"cursor": cursor} if cursor else {})
                page = (await admin.get("/v1/audit", params=query)).json()
                numbers += [item["number"] for item in page["items"]]
                if (cursor := page["next_cursor"]) is None:
                    break
            assert numbers == expected


async def test_who_sends_a_forged_address_is_written_down_with_the_real_one(gateway: Gateway) -> None:
    async with gateway.as_one_who_may("admin") as admin:
        await admin.post("/v1/keys", json={"name": "x", "scopes": ["run"]}, headers={"x-forwarded-for": ADDRESS})
        assert [item["address"] for item in await log_of(admin)] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "query",
    [
        "act=Run",
        "act=triger",
        "act=run.paused",
        "act=run.",
        "key=x",
        "since=soon",
        "order=any",
        "cursor=-1",
        "limit=1001",
    ],
)
async def test_a_wrong_query_is_refused(gateway: Gateway, query: str) -> None:
    async with gateway.as_one_who_may("admin") as admin:
        assert (await admin.get(f"/v1/audit?{query}")).status_code == 422
