from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from flowyard.bus.connection import Bus
from flowyard.bus.messages import KeyChanged
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.schema import VERSION
from services.registry.conftest import Registry, Starting
from support.waiting import eventually

OPEN = {"/health/live", "/health/ready"}
COMMAND = Path(sys.executable).with_name("flowyard-registry")


@asynccontextmanager
async def process(environment: Mapping[str, str], *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_no_route_but_health_answers_without_a_key(registry: Registry) -> None:
    """After ten wrong keys a minute, further wrong ones are refused with another code, after a pause."""
    document = (await registry.client.get("/openapi.json")).json()
    routes = [(path, method) for path, methods in document["paths"].items() for method in methods if path not in OPEN]
    assert len(routes) >= 14

    async def refusal(client: httpx.AsyncClient, path: str, method: str) -> tuple[int, str]:
        response = await client.request(method, re.sub(r"\{\w+\}", "1", path), json={})
        return response.status_code, response.json()["code"]

    async with registry.client_with(None) as nobody, registry.client_with("Bearer fy_wrong") as stranger:
        assert {await refusal(nobody, *route) for route in routes} == {(401, "unauthorized")}
        refusals = await asyncio.gather(*(refusal(stranger, *route) for route in routes))
    assert set(refusals) == {(401, "unauthorized"), (429, "too_many_wrong_keys")}


async def test_every_route_says_who_may_use_it_and_what_can_go_wrong(registry: Registry) -> None:
    document = (await registry.client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            if path not in OPEN:
                assert operation["security"] == [{"api_key": []}], (method, path)
                assert {"401", "403", "503"} <= set(operation["responses"]), (method, path)
            if "{name}" in path or "{agent_id}" in path:
                assert ("404" in operation["responses"]) or method == "put", (method, path)
            if "requestBody" in operation:
                assert {"413", "422"} <= set(operation["responses"]), (method, path)


async def test_a_revoked_key_is_refused_as_soon_as_a_message_names_it(
    registry: Registry, database: Database, bus: Bus
) -> None:
    keys = Keys(database)
    info, text = await keys.create("ci", frozenset({"read"}))
    async with registry.client_with(f"Bearer {text}") as client:
        assert (await client.get("/v1/workflows")).status_code == 200
        await keys.revoke(info.id)
        bus.publish(KeyChanged(id=info.id))

        async def refused() -> bool:
            return (await client.get("/v1/workflows")).status_code == 401

        async with asyncio.timeout(1):
            await eventually(refused)


async def test_it_works_while_nats_is_away_and_says_so(starting: Starting) -> None:
    async with starting(nats_url="nats://127.0.0.1:1") as registry:
        assert (await registry.client.get("/v1/workflows")).status_code == 200
        ready = await registry.client.get("/health/ready")
    assert ready.status_code == 200
    checks = {c["name"]: c["detail"].partition(":")[0] for c in ready.json()["checks"]}
    assert checks == {"postgres": f"reachable, schema {VERSION}", "nats": "degraded", "disk": "Postgres can store"}


async def test_it_finds_postgres_again_when_that_has_dropped_every_connection(
    registry: Registry, postgres_url: str, database: Database
) -> None:
    await database.value(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%registry'"
    )

    async def answers() -> bool:
        response = await registry.client.get("/v1/workflows")
        assert response.status_code in (200, 503)
        return response.status_code == 200

    await eventually(answers)


async def test_the_process_starts_serves_and_ends_on_a_signal(database_url: str, nats_url: str) -> None:
    environment = {"FLOWYARD_DATABASE_URL": database_url, "FLOWYARD_NATS_URL": nats_url, "FLOWYARD_PORT": "0"}
    async with process(environment) as child:
        assert child.stderr
        port = None
        async with asyncio.timeout(20):
            while port is None:
                port = re.search(r'"event": "listening".*"port": (\d+)', (await child.stderr.readline()).decode())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port[1]}") as client:
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.get("/metrics")).status_code == 401
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            rest = (await child.communicate())[1].decode()
    assert child.returncode == 0
    assert "Traceback" not in rest


async def test_the_process_refuses_a_database_that_was_never_migrated(postgres_url: str, nats_url: str) -> None:
    environment = {"FLOWYARD_DATABASE_URL": postgres_url, "FLOWYARD_NATS_URL": nats_url, "FLOWYARD_PORT": "0"}
    async with process(environment) as child, asyncio.timeout(20):
        printed = (await child.communicate())[1].decode()
    assert child.returncode == 1
    assert "run `flowyard migrate`" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2)])
async def test_the_process_explains_what_it_needs(arguments: list[str], code: int) -> None:
    async with process({}, *arguments) as child, asyncio.timeout(20):
        printed = b"".join(await child.communicate()).decode()
    assert child.returncode == code
    assert "FLOWYARD_DATABASE_URL" in printed


async def test_the_process_loads_no_library_that_it_doesnt_need() -> None:
    heavy = ("alembic", "langgraph", "litellm", "openai", "sqlalchemy")
    program = f"import sys, flowyard_registry.main; print([name for name in {heavy} if name in sys.modules])"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert (await child.communicate())[0] == b"[]\n"
