from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import httpx
import pytest

from flowyard.access import Scope
from flowyard.bus.connection import Bus, open_bus
from flowyard.export.addresses import OtelSettings
from flowyard.storage.database import Database, open_database
from flowyard.storage.keys import Keys
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings


@dataclass(frozen=True)
class Registry:
    """A running one. `keys`: by scope, the text of a key."""

    client: httpx.AsyncClient
    keys: Mapping[Scope, str]

    def client_with(self, authorization: str | None) -> httpx.AsyncClient:
        headers = {"authorization": authorization} if authorization is not None else {}
        return httpx.AsyncClient(base_url=self.client.base_url, timeout=10, headers=headers)

    def as_one_who_may(self, scope: Scope) -> httpx.AsyncClient:
        return self.client_with(f"Bearer {self.keys[scope]}")


Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Registry]]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await holds():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)


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
def starting(database: Database, database_url: str, nats_url: str) -> Starting:
    """The registry on a free port, as an administrator's client finds it."""

    @asynccontextmanager
    async def start(otel: OtelSettings | None = None, **settings: float | str) -> AsyncIterator[Registry]:
        given = {"database_url": database_url, "nats_url": nats_url, "port": 0, **settings}
        ending, port = asyncio.Event(), asyncio.get_running_loop().create_future()
        scopes: tuple[Scope, ...] = ("read", "run", "admin")
        keys = {scope: (await Keys(database).create(scope, frozenset({scope})))[1] for scope in scopes}
        async with asyncio.TaskGroup() as tasks:
            running = RegistrySettings.model_validate(given)
            tasks.create_task(run_registry(running, ending, otel=otel, on_listening=port.set_result))
            url, headers = f"http://127.0.0.1:{await port}", {"authorization": f"Bearer {keys['admin']}"}
            async with httpx.AsyncClient(base_url=url, timeout=10, headers=headers) as client:
                yield Registry(client, keys)
            ending.set()

    return start


@pytest.fixture
async def registry(starting: Starting) -> AsyncIterator[Registry]:
    async with starting() as registry:
        yield registry


@pytest.fixture
def client(registry: Registry) -> httpx.AsyncClient:
    return registry.client
