from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request
from pydantic import BaseModel

from flowyard.access import Caller
from flowyard.errors.requests import Forbidden, QueueFull, Unauthorized, UnknownRun
from flowyard.telemetry.metrics import Metrics
from flowyard.web.app import About, make_app
from flowyard.web.auth import require
from flowyard.web.health import Check
from flowyard.web.problems import problem_responses
from flowyard.web.serve import serve
from flowyard.web.sse import OURS, Around, EventStream, ServerEvent

BODY_LIMIT = 1000
KEY = {"authorization": "Bearer fy_admin"}


class Item(BaseModel):
    name: str
    count: int


@dataclass
class Service:
    """A small service with a route for each thing that can happen."""

    checks: list[Check] = field(default_factory=list)
    shutting_down: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: Metrics = field(default_factory=lambda: Metrics(service="test", version="0"))
    events_closed: asyncio.Event = field(default_factory=asyncio.Event)
    heartbeat_s: float = 15.0
    around: Around = OURS

    def app(self) -> FastAPI:
        return make_app(
            About("Test", "0", "A service."),
            routers=[self._routes()],
            checks=self.checks,
            metrics=self.metrics,
            shutting_down=self.shutting_down,
            verify=_verify,
            body_limit=BODY_LIMIT,
        )

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app()), base_url="http://test", headers=KEY)

    async def events(self) -> AsyncGenerator[ServerEvent, None]:
        try:
            yield ServerEvent("first", "note", "1")
            await asyncio.Event().wait()
        finally:
            self.events_closed.set()

    def _routes(self) -> APIRouter:
        router = APIRouter(prefix="/v1")

        @router.get("/runs/{run_id}", responses=problem_responses(UnknownRun))
        async def get_run(run_id: str, limit: Annotated[int, Query(le=10)] = 1) -> str:
            raise UnknownRun(run_id, hint="see the list")

        @router.delete("/runs/{run_id}")
        async def delete_run(run_id: str) -> None:
            raise QueueFull(limit=5, retry_after=2.2)

        @router.post("/items")
        async def add_item(item: Item) -> Item:
            return item

        @router.post("/raw")
        async def raw(request: Request) -> int:
            return len(await request.body())

        @router.post("/echo")
        async def echo(name: Annotated[str, Body(embed=True)]) -> None:
            raise UnknownRun(name)

        @router.get("/slow")
        async def slow() -> None:
            await asyncio.sleep(1.01)

        @router.get("/bug")
        async def bug() -> None:
            raise RuntimeError("the password is hunter2")

        @router.get("/events", response_class=EventStream)
        async def events() -> EventStream:
            return EventStream(
                self.events(),
                shutting_down=self.shutting_down,
                metrics=self.metrics.http,
                heartbeat_s=self.heartbeat_s,
                around=self.around,
            )

        @router.get("/secret", responses=problem_responses(Unauthorized, Forbidden))
        async def secret(caller: Annotated[Caller, Depends(require("run"))]) -> str:
            return caller.name

        return router


async def _verify(key: str) -> Caller | None:
    known: dict[str, Caller] = {
        "fy_reader": Caller("1", "reader", frozenset({"read"})),
        "fy_admin": Caller("2", "boss", frozenset({"admin"})),
    }
    return known.get(key)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.client() as client:
        yield client


Running: TypeAlias = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def running(service: Service) -> Running:
    """The service behind uvicorn on a free port, and a client of it."""

    @asynccontextmanager
    async def run() -> AsyncIterator[httpx.AsyncClient]:
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(
                service.app(),
                host="127.0.0.1",
                port=0,
                grace_s=2,
                shutting_down=service.shutting_down,
                on_listening=port.set_result,
            )
        )
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await port}", timeout=5, headers=KEY) as client:
            yield client
        service.shutting_down.set()
        await serving

    return run
