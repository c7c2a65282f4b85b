from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import httpx_sse
import pytest

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunTokens
from flowyard.control.cancel import cancel_run
from flowyard.control.parts import Control
from flowyard.storage.database import Database
from services.dashboard.conftest import HAIKU, Dashboard, Starting, apply, submit
from support.waiting import eventually


class Stream:
    """What an open page receives."""

    def __init__(self, events: AsyncIterator[httpx_sse.ServerSentEvent]) -> None:
        self._events = events
        self.names: list[str] = []

    async def until(self, text: str) -> str:
        """Everything that has come, up to the event with this text in it."""
        received = ""
        async with asyncio.timeout(8):
            async for event in self._events:
                self.names.append(event.event)
                received += event.data
                if text in event.data:
                    return received
        raise AssertionError(f"the stream ended without {text!r}: {received}")

    async def rest(self) -> str:
        async with asyncio.timeout(8):
            return "".join([event.event + event.data async for event in self._events])


@asynccontextmanager
async def following(client: httpx.AsyncClient, page: str, **changes: str) -> AsyncIterator[Stream]:
    """The stream that a page opens."""
    address = html.unescape(re.findall(r'sse-connect="([^"]+)"', (await client.get(page)).text)[0])
    for old, new in changes.items():
        address = re.sub(rf"{old}=\w+", f"{old}={new}", address)
    async with httpx_sse.aconnect_sse(client, "GET", address) as source:
        yield Stream(source.aiter_sse())


@pytest.mark.parametrize("page", ["/runs", "/runs?workflow=haiku", "/workflows", "/workflows/haiku"])
async def test_lists_show_new_runs_and_changes(
    client: httpx.AsyncClient, database: Database, control: Control, page: str
) -> None:
    name = await apply(database, HAIKU)
    async with following(client, page) as stream:
        run_id = await submit(control, name, topic="x")
        assert "queued" in await stream.until(run_id)
        await cancel_run(control, UUID(run_id))
        changed = await stream.until("cancelled")
    assert 'hx-swap-oob="true"' in changed
    assert changed.startswith("<template><tr ")


async def test_a_list_that_was_filtered_stays_so(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    name = await apply(database, HAIKU)
    async with following(client, "/runs?status=queued") as stream:
        first = await submit(control, name, topic="x")
        await stream.until(first)
        second = await submit(control, name, topic="x")
        await stream.until(second)
        await cancel_run(control, UUID(first))
        assert f'<tr id="run-{first}" hx-swap-oob="delete">' in await stream.until(first)


async def test_a_page_that_is_up_to_date_is_sent_nothing_and_another_everything(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    first = await submit(control, await apply(database, HAIKU), topic="x")
    async with following(client, "/runs") as stream:
        second = await submit(control, "haiku", topic="x")
        assert first not in await stream.until(second)
    async with following(client, "/runs", seen="0") as stream:
        assert first in await stream.until(second)


async def test_a_run_is_followed_to_its_end(client: httpx.AsyncClient, database: Database, control: Control) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")
    async with following(client, f"/runs/{run_id}") as stream:
        await stream.until("texts")
        await cancel_run(control, UUID(run_id))
        changed = await stream.until("badge cancelled")
        rest = await stream.rest()
    assert '<section hx-swap-oob="true" id="run-head"' in changed
    assert '<figure hx-swap-oob="true" id="graph"' in changed
    assert "run.cancelled" in changed
    assert f"/runs/{run_id}/cancel" not in changed
    assert rest == "end"


async def test_who_was_away_catches_up(client: httpx.AsyncClient, database: Database, control: Control) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")
    page = (await client.get(f"/runs/{run_id}")).text
    address = html.unescape(re.findall(r'sse-connect="([^"]+)"', page)[0])
    await cancel_run(control, UUID(run_id))
    async with httpx_sse.aconnect_sse(client, "GET", address) as source:
        stream = Stream(source.aiter_sse())
        assert "run.cancelled" in await stream.until("badge cancelled")
        assert await stream.rest() == "end"


async def test_replies_come_word_by_word_and_escaped(
    client: httpx.AsyncClient, database: Database, control: Control, bus: Bus
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")

    def say(text: str, *, epoch: int = 1, visit: int = 1) -> None:
        bus.publish(RunTokens(run_id=UUID(run_id), epoch=epoch, node="write", visit=visit, text=text))

    async with following(client, f"/runs/{run_id}") as stream:
        receiving = asyncio.create_task(stream.until("ready"))

        def is_subscribed() -> bool:
            say("ready", visit=2)
            return receiving.done()

        await eventually(is_subscribed)
        say("<b>Soft")
        first = await stream.until("Soft")
        say(" rain & snow")
        second = await stream.until("rain")
        say("Hard", epoch=2)
        third = await stream.until("Hard")
    assert '<span hx-swap-oob="beforeend:#text-write-1-x-pre">&lt;b&gt;Soft</span>' in first
    assert 'id="text-write-1-x"' in first
    assert second == '<span hx-swap-oob="beforeend:#text-write-1-x-pre"> rain &amp; snow</span>'
    assert third.startswith('<div id="text-write-1-x" hx-swap-oob="delete">')


async def test_without_nats_pages_still_live(starting: Starting, database: Database, control: Control) -> None:
    name = await apply(database, HAIKU)
    async with starting(nats_url="nats://127.0.0.1:9", poll_s=0.2) as dashboard:
        run_id = await submit(control, name, topic="x")
        async with following(dashboard.client, "/runs") as runs, following(dashboard.client, f"/runs/{run_id}") as run:
            await cancel_run(control, UUID(run_id))
            await runs.until("badge cancelled")
            await run.until("badge cancelled")


async def test_only_what_open_pages_show_is_subscribed_to(
    dashboard: Dashboard, database: Database, control: Control, bus: Bus
) -> None:
    shown, other = [await submit(control, await apply(database, HAIKU), topic="x") for _ in range(2)]

    async def arrive(*, before: int) -> list[str]:
        """Of which run a message arrives: one that nobody can read is counted. `before`: the count so far."""
        arrived: list[str] = []
        for run_id in (other, shown):
            await send_unreadable(bus, run_id)
            await asyncio.sleep(0.1)
            if (count := await unreadable(dashboard)) > before:
                arrived, before = [*arrived, run_id], count
        return arrived

    assert await arrive(before=0) == []
    async with following(dashboard.client, f"/runs/{shown}") as run:
        await run.until("texts")
        await eventually(lambda: arrive(before=0))
        count = await unreadable(dashboard)
        assert await arrive(before=count) == [shown]
    async with following(dashboard.client, "/runs") as runs, following(dashboard.client, "/workflows"):
        await submit(control, "haiku", topic="y")
        await runs.until("queued")
        count = await unreadable(dashboard)
        assert await arrive(before=count) == [other, shown]
        assert await unreadable(dashboard) == count + 2

    async def nothing_arrives() -> bool:
        return await arrive(before=await unreadable(dashboard)) == []

    await eventually(nothing_arrives)


async def send_unreadable(bus: Bus, run_id: str) -> None:
    client = bus._link.client
    assert client is not None
    await client.publish(f"flowyard.runs.{run_id}.events", b"?")
    await client.flush()


async def unreadable(dashboard: Dashboard) -> int:
    headers = {"authorization": f"Bearer {dashboard.keys['run']}"}
    text = (await dashboard.client.get("/metrics", headers=headers)).text
    found = re.search(r'^flowyard_bus_messages_dropped_total{[^}]*reason="undecodable"} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


async def test_streams_end_when_the_service_does(starting: Starting, database: Database) -> None:
    await apply(database, HAIKU)
    async with asyncio.timeout(4), starting(grace_s=10) as dashboard:
        following_runs = following(dashboard.client, "/runs")
        await following_runs.__aenter__()


async def test_who_may_only_read_can_follow(dashboard: Dashboard, database: Database, control: Control) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")
    async with dashboard.as_one_who_may("read") as reader, following(reader, f"/runs/{run_id}", seen="0") as stream:
        assert "/cancel" not in await stream.until("badge queued")
