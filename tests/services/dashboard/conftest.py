from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
import pytest
import yaml

from flowyard.access import Scope
from flowyard.bus.connection import Bus
from flowyard.control.parts import Control, make_control
from flowyard.control.submit import Submission, new_run_id, submit_run
from flowyard.storage.database import Database
from flowyard.telemetry.metrics import Metrics
from flowyard_dashboard.main import run_dashboard
from flowyard_dashboard.settings import DashboardSettings
from services.conftest import starter
from support import queued

OURS = {"sec-fetch-site": "same-origin"}
"""What a browser sends with the forms of our pages."""
HAIKU = {
    "flow": {"name": "haiku", "description": "Writes a poem."},
    "state": {"fields": {"topic": {"type": "str", "required": True}, "poem": "str"}},
    "nodes": [{"id": "write", "prompt": "A haiku about {topic}.", "outputs": ["poem"]}],
    "config": {"llm": {"provider": "openai", "model": "gpt-4o-mini"}},
}


@dataclass(frozen=True)
class Dashboard:
    """A running one. `keys`: by scope, the text of a key. `client`: logged in as one who may run workflows."""

    client: httpx.AsyncClient
    keys: Mapping[Scope, str]

    @property
    def url(self) -> str:
        return str(self.client.base_url).rstrip("/")

    def stranger(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.client.base_url, timeout=10, headers=OURS)

    @asynccontextmanager
    async def as_one_who_may(self, scope: Scope) -> AsyncIterator[httpx.AsyncClient]:
        async with self.stranger() as client:
            answer = await client.post("/login", data={"key": self.keys[scope]})
            assert answer.status_code == 303, answer.text
            yield client


Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[Dashboard]]


@pytest.fixture
def control(database: Database, bus: Bus) -> Control:
    """The verbs as another service uses them."""
    return make_control(database, bus, Metrics(service="test", version="0"))


@pytest.fixture
def starting(database: Database, database_url: str, nats_url: str) -> Starting:
    urls = {"database_url": database_url, "nats_url": nats_url}
    start_service = starter(run_dashboard, DashboardSettings, database, scope="run", **urls)

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Dashboard]:
        async with (
            start_service(**settings) as service,
            httpx.AsyncClient(base_url=service.client.base_url, timeout=10, headers=OURS) as client,
        ):
            await client.post("/login", data={"key": service.keys["run"]})
            yield Dashboard(client, service.keys)

    return start


@pytest.fixture
async def dashboard(starting: Starting) -> AsyncIterator[Dashboard]:
    async with starting() as dashboard:
        yield dashboard


@pytest.fixture
def client(dashboard: Dashboard) -> httpx.AsyncClient:
    return dashboard.client


async def apply(database: Database, document: Mapping[str, Any]) -> str:
    """Its name."""
    return (await queued.apply(database, yaml.safe_dump(dict(document), sort_keys=False))).workflow


async def submit(control: Control, name: str, **inputs: Any) -> str:
    """The run's id."""
    run_id, _ = await submit_run(control, Submission(workflow=name, inputs=inputs), run_id=new_run_id())
    return str(run_id)
