from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard_gateway.main import run_gateway
from flowyard_gateway.settings import GatewaySettings
from services.conftest import Service, starter
from support import stories
from support.queued import apply

POEM = stories.POEM.replace("MODEL", "{provider: scripted}") + "  execution: {priority: 7, max_attempts: 2}\n"
Gateway: TypeAlias = Service
Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Gateway]]


async def submit(client: httpx.AsyncClient, topic: str = "rain", *, workflow: str = "poem", **more: Any) -> str:
    """The run's id."""
    response = await client.post(f"/v1/workflows/{workflow}/runs", json={"inputs": {"topic": topic}, **more})
    run_id: str = response.json()["id"]
    return run_id


@pytest.fixture
async def poem(database: Database) -> str:
    """The name of a workflow of two nodes, `draft` and `write`."""
    await apply(database, POEM)
    return "poem"


@pytest.fixture
def starting(database: Database, database_url: str, nats_url: str) -> Starting:
    """The gateway on a free port, as somebody finds it who may run workflows."""
    urls = {"database_url": database_url, "nats_url": nats_url}
    return starter(run_gateway, GatewaySettings, database, scope="run", **urls)


@pytest.fixture
async def gateway(starting: Starting) -> AsyncIterator[Gateway]:
    async with starting() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> httpx.AsyncClient:
    return gateway.client
