from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import httpx
import pytest

from flowyard.bus.connection import Bus
from flowyard.language.load import load_text
from flowyard.storage.database import Database
from flowyard.storage.workflows import Workflows
from flowyard_gateway.main import run_gateway
from flowyard_gateway.settings import GatewaySettings
from services.conftest import Service, serving
from support.hands import Hands, working_hands

POEM = """\
flow: {name: poem}
state:
  fields:
    topic: {type: str, required: true}
    lines: {type: int, default: 3}
    draft: str
    poem: str
nodes:
  - {id: draft, prompt: 'Draft {topic}.', outputs: [draft]}
  - {id: write, prompt: 'Write {draft}.', outputs: [poem]}
config:
  llm: {provider: scripted}
  execution: {priority: 7, max_attempts: 2}
"""
Gateway: TypeAlias = Service
Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
async def hands(database: Database, bus: Bus) -> AsyncIterator[Hands]:
    async with working_hands(database, bus) as hands:
        yield hands


async def apply(database: Database, document: str) -> None:
    """As the registry does."""
    workflow = load_text(document, "test.yaml").workflow
    assert workflow is not None
    limits: dict[str, Any] = {
        "concurrency": workflow.execution.concurrency,
        "priority": workflow.execution.priority,
    }
    await Workflows(database).apply(workflow.name, digest=workflow.digest, document=document, **limits)


@pytest.fixture
async def poem(database: Database) -> str:
    """The name of a workflow of two nodes, `draft` and `write`."""
    await apply(database, POEM)
    return "poem"


@pytest.fixture
def starting(database: Database, database_url: str, nats_url: str) -> Starting:
    """The gateway on a free port, as somebody finds it who may run workflows."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Gateway]:
        given = {"database_url": database_url, "nats_url": nats_url, "port": 0, **settings}
        running = GatewaySettings.model_validate(given)
        async with serving(partial(run_gateway, running), database, scope="run") as gateway:
            yield gateway

    return start


@pytest.fixture
async def gateway(starting: Starting) -> AsyncIterator[Gateway]:
    async with starting() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> httpx.AsyncClient:
    return gateway.client
