"""Clients that open streams and answers, and read nothing of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from abuse.conftest import Starting
from flowyard.runs.run import Run
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.run_lists import RunFilter
from flowyard.storage.runs import Runs
from support import queued, stories
from support.campaigns import Campaigns
from support.hands import Hands
from support.processes import ServiceProcess

OUTPUT: Final = "o" * 8_000_000
LONG: Final = pytest.mark.long
READERS: Final = 30
SETTLES_S: Final = 6
POEM: Final = stories.POEM.replace("MODEL", "{provider: scripted}")


@pytest.fixture
async def key(database: Database) -> str:
    return (await Keys(database).create("reader", frozenset({"read", "run"})))[1]


@pytest.fixture
async def run_id(database: Database, hands: Hands) -> UUID:
    """A finished run with an output of 8 MB."""
    await queued.apply(database, POEM)
    run_id = await queued.submit(database, "poem", inputs={"topic": "rain"})
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": OUTPUT})
    await hands.step(claim, "write", {"poem": "short"})
    await hands.succeed(claim, {"draft": OUTPUT, "poem": "short"})
    return run_id


@pytest.fixture
async def gateway(starting: Starting) -> AsyncIterator[ServiceProcess]:
    async with starting("gateway", streams_limit=40, streams_per_key=35) as gateway:
        yield gateway


@asynccontextmanager
async def unread(service: ServiceProcess, path: str, *headers: str) -> AsyncIterator[None]:
    """A request whose response nobody reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1024)
    request = [f"GET {path} HTTP/1.1", "host: localhost", *headers, "", ""]
    writer.write("\r\n".join(request).encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
        del reader


async def growth_mb(service: ServiceProcess, path: str, *headers: str) -> int:
    """By how much its memory grows with many readers that don't read."""
    before = service.memory_mb
    async with AsyncExitStack() as readers:
        for _ in range(READERS):
            await readers.enter_async_context(unread(service, path, *headers))
        return await most_mb(service) - before


async def most_mb(service: ServiceProcess) -> int:
    """The most memory that it had, once it hasn't needed more for some seconds."""
    most, grown_at = service.most_memory_mb, time.monotonic()
    while time.monotonic() - grown_at < SETTLES_S:
        await asyncio.sleep(0.5)
        if service.most_memory_mb > most:
            most, grown_at = service.most_memory_mb, time.monotonic()
    return most


@pytest.mark.parametrize("path", ["events", "outputs", *(pytest.param(path, marks=LONG) for path in ("", "steps"))])
async def test_readers_that_do_not_read_take_little_memory(
    gateway: ServiceProcess, run_id: UUID, key: str, path: str, measured: Callable[[str], None], campaign: Campaigns
) -> None:
    address = f"/v1/runs/{run_id}/{path}".rstrip("/")
    accept = "accept: text/event-stream" if path == "events" else "accept: application/json"
    grown = await growth_mb(gateway, address, f"authorization: Bearer {key}", accept)
    measured(f"unread {path or 'run'}: {READERS} readers, {grown} MB")
    with campaign("readers that read nothing").attempt(f"of {path or 'a run'}"):
        assert grown < 110


@LONG
async def test_pages_that_nobody_reads_take_little_memory(
    starting: Starting, run_id: UUID, key: str, measured: Callable[[str], None], campaign: Campaigns
) -> None:
    async with starting("dashboard") as dashboard:
        async with httpx.AsyncClient(base_url=dashboard.url) as client:
            await client.post("/login", data={"key": key}, headers={"origin": dashboard.url})
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        grown = [await growth_mb(dashboard, f"/runs/{run_id}{end}", f"cookie: {cookie}") for end in ("", "/live")]
    measured(f"unread pages: {READERS} readers, {grown} MB")
    with campaign("readers that read nothing").attempt("of pages"):
        assert max(grown) < 110


async def test_more_streams_than_one_key_may_open_are_refused(gateway: ServiceProcess, run_id: UUID, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
    async with AsyncExitStack() as readers, httpx.AsyncClient(base_url=gateway.url, headers=headers) as client:
        for _ in range(35):
            head = [f"{name}: {value}" for name, value in headers.items()]
            await readers.enter_async_context(unread(gateway, f"/v1/runs/{run_id}/events", *head))
        await asyncio.sleep(2)
        response = await client.get(f"/v1/runs/{run_id}/events")
    assert (response.status_code, response.json()["code"]) == (429, "too_many_streams")
    assert int(response.headers["retry-after"]) > 0
    assert "35 streams are open by this API key" in response.json()["detail"]


async def test_a_large_output_is_fetched_apart_and_whole(gateway: ServiceProcess, run_id: UUID, key: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}) as client:
        address = f"/v1/runs/{run_id}"
        page = (await client.get(f"{address}/events")).json()
        while (more := (await client.get(f"{address}/events", params={"after": page["next_after"]})).json())["items"]:
            page = more
        ended = page["items"][-1]["data"]
        assert (ended["outputs"], ended["large_outputs"]) == ({"poem": "short"}, {"draft": len(OUTPUT) + 2})
        run = (await client.get(address)).json()
        assert (run["outputs"], run["large_outputs"]) == ({"poem": "short"}, {"draft": len(OUTPUT) + 2})
        step = (await client.get(f"{address}/steps")).json()["items"][0]
        assert (step["outputs"], step["outputs_bytes"]) == (None, len(json.dumps({"draft": OUTPUT})) - 1)
        of_run: Any = (await client.get(f"{address}/outputs", params={"name": "draft"})).json()
        of_step: Any = (await client.get(f"{address}/outputs", params={"node": "draft"})).json()
        assert (of_run, of_step) == (OUTPUT, {"draft": OUTPUT})
        missing = await client.get(f"{address}/outputs", params={"name": "drafts"})
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_output")


async def test_a_list_of_runs_does_not_load_their_outputs(database: Database, run_id: UUID) -> None:
    [listed] = await Runs(database).page(RunFilter(), 10)
    assert isinstance(listed, Run)
    assert (listed.id, listed.outputs) == (run_id, None)
