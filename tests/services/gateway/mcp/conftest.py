from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp.client.client import Client, ConnectMode
from mcp.client.streamable_http import streamable_http_client

from flowyard.storage.database import Database
from services.gateway.conftest import Gateway, Starting
from support.queued import apply

POEM = """
flow: {name: poem, description: Writes a poem.}
state:
  fields:
    topic: {type: str, required: true, description: What it is about.}
    lines: {type: int, default: 4}
    draft: str
    poem: str
nodes:
  - id: sketch
    name: Sketch
    description: A first sketch.
    system: You are terse.
    prompt: "{lines} lines about {topic}"
    outputs: [draft]
  - {id: write, prompt: "Improve {draft}", outputs: [poem]}
result: [poem]
config: {llm: {provider: scripted}}
triggers:
  tool: {mcp: {title: Poet, prompts: [sketch]}}
"""
OTHER = POEM.replace("name: poem", "name: other").replace("{mcp: {title: Poet, prompts: [sketch]}}", "{mcp: {}}")
HIDDEN = POEM.replace("name: poem", "name: hidden").split("triggers:")[0]
NOBODYS = "01900000-0000-7000-8000-000000000000"
"""The id of no run."""
MODES: tuple[ConnectMode, ...] = ("2026-07-28", "legacy")


@pytest.fixture
async def gateway(starting: Starting, database: Database) -> AsyncIterator[Gateway]:
    for document in (POEM, OTHER, HIDDEN):
        await apply(database, document)
    async with starting() as gateway:
        yield gateway


@asynccontextmanager
async def connected(gateway: Gateway, key: str, mode: ConnectMode) -> AsyncIterator[Client]:
    """The SDK's own client."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{gateway.client.base_url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.fixture(params=MODES)
async def client(request: pytest.FixtureRequest, gateway: Gateway) -> AsyncIterator[Client]:
    """In both eras of the protocol, with a key that may run workflows."""
    ready, over = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def hold() -> None:
        # The client has to be closed by the task that has opened it, which a fixture's halves needn't be.
        async with connected(gateway, gateway.keys["run"], request.param) as client:
            ready.set_result(client)
            await over.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold())
        yield await ready
        over.set()
