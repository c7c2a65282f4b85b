from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
import pytest

from flowyard.access import Scope
from flowyard.bus.connection import Bus, open_bus
from flowyard.language.load import load_text
from flowyard.storage.database import Database, open_database
from flowyard.storage.keys import Keys
from flowyard.storage.workflows import Workflows
from flowyard_gateway.main import run_gateway
from flowyard_gateway.settings import GatewaySettings
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


@dataclass(frozen=True)
class Gateway:
    """A running one, and who may do what. `ending`: set to shut it down."""

    client: httpx.AsyncClient
    keys: Mapping[Scope, str]
    ending: asyncio.Event

    def client_with(self, authorization: str | None) -> httpx.AsyncClient:
        headers = {"authorization": authorization} if authorization is not None else {}
        return httpx.AsyncClient(base_url=self.client.base_url, timeout=10, headers=headers)

    def as_one_who_may(self, scope: Scope) -> httpx.AsyncClient:
        return self.client_with(f"Bearer {self.keys[scope]}")


Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, service="test") as database:
        yield database


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    connected = asyncio.Event()
    async with open_bus(nats_url, name="test", on_connect=connected.set) as bus:
        await connected.wait()
        yield bus


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
        ending, port = asyncio.Event(), asyncio.get_running_loop().create_future()
        scopes: tuple[Scope, ...] = ("read", "run", "admin")
        keys = {scope: (await Keys(database).create(scope, frozenset({scope})))[1] for scope in scopes}
        async with asyncio.TaskGroup() as tasks:
            running = GatewaySettings.model_validate(given)
            tasks.create_task(run_gateway(running, ending, on_listening=port.set_result))
            url, headers = f"http://127.0.0.1:{await port}", {"authorization": f"Bearer {keys['run']}"}
            async with httpx.AsyncClient(base_url=url, timeout=10, headers=headers) as client:
                yield Gateway(client, keys, ending)
            ending.set()

    return start


@pytest.fixture
async def gateway(starting: Starting) -> AsyncIterator[Gateway]:
    async with starting() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> httpx.AsyncClient:
    return gateway.client
