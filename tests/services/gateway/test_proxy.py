"""The registry through the gateway's door."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from flowyard_gateway.proxy import REGISTRY_API
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings
from services.gateway.conftest import POEM, Gateway, Starting
from services.gateway.registry_api import registry_api


@pytest.fixture
async def both(starting: Starting, database_url: str, nats_url: str) -> AsyncIterator[Gateway]:
    """The gateway in front of a registry."""
    ending, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = RegistrySettings.model_validate({"database_url": database_url, "nats_url": nats_url, "port": 0})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_registry(settings, ending, on_listening=port.set_result))
        async with starting(registry_url=f"http://127.0.0.1:{await port}") as gateway:
            yield gateway
        ending.set()


def test_the_gateway_knows_the_registrys_api_as_it_is() -> None:
    # If this fails: PYTHONPATH=tests python tests/services/gateway/registry_api.py
    assert json.loads(REGISTRY_API.read_text()) == registry_api()


async def test_a_workflow_is_applied_and_run_through_one_address(both: Gateway) -> None:
    async with both.as_one_who_may("admin") as admin:
        applied = await admin.put("/v1/workflows/poem", content=POEM, headers={"content-type": "application/yaml"})
        assert (applied.status_code, applied.json()["revision"]) == (201, 1)
        assert applied.headers["location"] == "/v1/workflows/poem"
        assert (await admin.get("/v1/workflows", params={"search": "PO"})).json()["items"][0]["name"] == "poem"
        run = await admin.post("/v1/workflows/poem/runs", json={"inputs": {"topic": "rain"}})
        assert run.status_code == 202
        deleted = await admin.delete("/v1/workflows/poem", params={"force": "true"})
        assert deleted.json()["cancelled"] == [run.json()["id"]]


async def test_the_registry_decides_who_may_what(both: Gateway) -> None:
    refused = await both.client.put("/v1/workflows/poem", content=POEM)
    assert (refused.status_code, refused.json()["needed_scope"]) == (403, "write")


async def test_problems_come_through_as_they_are(both: Gateway) -> None:
    async with both.as_one_who_may("admin") as admin:
        broken = await admin.put("/v1/workflows/poem", content=POEM.replace("prompt", "promt"))
        missing = await admin.get("/v1/workflows/nothing", headers={"x-request-id": "the-request-1"})
    assert (broken.status_code, broken.json()["code"]) == (422, "invalid_document")
    assert broken.headers["content-type"] == "application/problem+json"
    assert broken.json()["problems"][0]["line"] > 1
    assert (missing.status_code, missing.json()["instance"]) == (404, "urn:flowyard:request:the-request-1")
    assert missing.headers["x-request-id"] == "the-request-1"


async def test_an_agent_can_register_through_it(both: Gateway) -> None:
    agent = {"id": "a-1", "name": "a", "kind": "http"}
    assert (await both.client.post("/v1/agents", json=agent)).status_code == 201
    assert (await both.client.post("/v1/agents/a-1/heartbeat", json={})).status_code == 200
    assert (await both.client.get("/v1/agents")).json()["items"][0]["id"] == "a-1"


async def test_names_arrive_as_they_were_written(both: Gateway) -> None:
    for name in ("a b", "ü", "a?b", "a#b", "%", "..", "a&b=c"):
        response = await both.client.get(f"/v1/workflows/{quote(name, safe='').replace('..', '%2E%2E')}")
        assert response.json()["code"] == "unknown_workflow"
        assert f"'{name}'" in response.json()["detail"]


async def test_nothing_else_of_the_registry_can_be_reached(both: Gateway) -> None:
    for path in ("/v1/workflows/..%2f..%2fmetrics", "/v1/agents/%2e%2e/%2e%2e/metrics", "/v1/nothing"):
        assert (await both.client.get(path)).json()["code"] == "no_such_route"
    wrong = await both.client.patch("/v1/workflows/x")
    assert (wrong.status_code, re.split(", ", wrong.headers["allow"])) == (405, ["DELETE", "GET", "PUT"])


async def test_without_a_registry_runs_go_on_and_its_routes_say_so(starting: Starting, poem: str) -> None:
    async with starting(registry_url="http://127.0.0.1:9") as gateway:
        await _without_a_registry(gateway, poem)


async def _without_a_registry(gateway: Gateway, poem: str) -> None:
    away = await gateway.client.get("/v1/workflows")
    assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    assert away.headers["retry-after"] == "1"
    run = await gateway.client.post(f"/v1/workflows/{poem}/runs", json={"inputs": {"topic": "rain"}})
    assert run.status_code == 202
    assert "/v1/workflows" in (await gateway.client.get("/openapi.json")).json()["paths"]
