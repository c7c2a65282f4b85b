from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeAlias

import httpx
import pytest

from flowyard.export.addresses import OtelSettings
from flowyard.storage.database import Database
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings
from services.conftest import Service, serving

Registry: TypeAlias = Service
Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Registry]]


@pytest.fixture
def starting(database: Database, database_url: str, nats_url: str) -> Starting:
    """The registry on a free port, as an administrator's client finds it."""

    @asynccontextmanager
    async def start(otel: OtelSettings | None = None, **settings: float | str) -> AsyncIterator[Registry]:
        given = {"database_url": database_url, "nats_url": nats_url, "port": 0, **settings}
        running = RegistrySettings.model_validate(given)
        async with serving(partial(run_registry, running, otel=otel), database, scope="admin") as registry:
            yield registry

    return start


@pytest.fixture
async def registry(starting: Starting) -> AsyncIterator[Registry]:
    async with starting() as registry:
        yield registry


@pytest.fixture
def client(registry: Registry) -> httpx.AsyncClient:
    return registry.client
