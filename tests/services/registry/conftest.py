from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeAlias

import httpx
import pytest

from flowyard.export.addresses import OtelSettings
from flowyard.storage.database import Database
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings
from services.conftest import Service, starter
from support.schedule_office import Office, opened_office
from support.servers import Postgres

Registry: TypeAlias = Service
Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Registry]]


@pytest.fixture
def starting(database: Database, database_url: str, nats_url: str) -> Starting:
    """The registry on a free port, as an administrator's client finds it."""

    def start(otel: OtelSettings | None = None, **settings: float | str) -> AbstractAsyncContextManager[Registry]:
        urls = {"database_url": database_url, "nats_url": nats_url}
        run = partial(run_registry, otel=otel)
        return starter(run, RegistrySettings, database, scope="admin", **urls)(**settings)

    return start


@pytest.fixture
async def registry(starting: Starting) -> AsyncIterator[Registry]:
    async with starting() as registry:
        yield registry


@pytest.fixture
def client(registry: Registry) -> httpx.AsyncClient:
    return registry.client


@pytest.fixture
async def office(postgres: Postgres, template_database: str, nats_url: str) -> AsyncIterator[Office]:
    async with opened_office(postgres, template_database, nats_url) as office:
        yield office
