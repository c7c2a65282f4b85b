from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flowyard.bus import subjects
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.doorbell import Doorbell, doorbell
from flowyard.bus.messages import WorkflowChanged, WorkQueued
from integration.bus.server import NatsServer
from support.waiting import eventually

WORK = WorkQueued()


@asynccontextmanager
async def _listening(nats: NatsServer) -> AsyncIterator[tuple[Bus, Doorbell]]:
    """A bus, and a bell whose poll doesn't come in the time of a test."""
    async with (
        open_bus(nats.url, name="test") as bus,
        doorbell(bus, subjects.RUNS_QUEUED, WorkQueued, poll_s=60) as bell,
    ):
        yield bus, bell


async def _rings(bell: Doorbell) -> None:
    await asyncio.wait_for(bell.wait(), 5)


async def test_a_service_starts_before_nats_and_finds_it_later(stopped_nats: NatsServer) -> None:
    async with _listening(stopped_nats) as (bus, bell):
        await asyncio.sleep(0.1)  # it tries in vain
        assert not bus.connected
        stopped_nats.start()
        await _rings(bell)
        await eventually(lambda: bus.connected)
        bus.publish(WORK)
        await _rings(bell)


async def test_a_long_outage_is_logged_once_and_not_with_every_try(
    stopped_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_bus(stopped_nats.url, name="test"):
        await asyncio.sleep(0.4)  # the first tries, each of which may fail in another way
        logged = len(caplog.records)
        assert logged > 0
        await asyncio.sleep(0.6)  # more tries
    assert len(caplog.records) == logged


async def test_after_a_crash_of_nats_the_bell_rings_and_messages_arrive_again(nats: NatsServer) -> None:
    async with _listening(nats) as (bus, bell):
        await _rings(bell)
        for _ in range(2):
            nats.kill()
            await eventually(lambda: not bus.connected)
            nats.start()
            await _rings(bell)
            await eventually(lambda: bus.connected)
            bus.publish(WORK)
            await _rings(bell)


async def test_the_loss_of_the_whole_store_is_nothing_but_a_restart(nats: NatsServer) -> None:
    async with _listening(nats) as (bus, bell):
        await _rings(bell)
        nats.kill()
        nats.delete_store()
        nats.start()
        await _rings(bell)
        bus.publish(WORK)
        await _rings(bell)


async def test_without_nats_publishing_returns_at_once_and_the_newest_is_kept(stopped_nats: NatsServer) -> None:
    dropped: list[tuple[str, str]] = []
    received: list[int] = []

    async def receive(message: WorkflowChanged) -> None:
        received.append(int(message.name))

    async with open_bus(stopped_nats.url, name="test", on_drop=lambda *drop: dropped.append(drop)) as bus:
        before = time.process_time()
        for number in range(10_100):
            bus.publish(WorkflowChanged(name=str(number)))
        assert time.process_time() - before < 5
        assert dropped == [("outbox_full", "WorkflowChanged")] * 100
        async with bus.subscribe(subjects.WORKFLOWS_CHANGED, WorkflowChanged, receive):
            stopped_nats.start()
            await eventually(lambda: received[-1:] == [10_099])
    assert received[-2000:] == list(range(8100, 10_100))


async def test_a_handler_at_work_is_not_disturbed_by_a_lost_connection(nats: NatsServer) -> None:
    at_work, may_end, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(_message: WorkQueued) -> None:
        at_work.set()
        await may_end.wait()
        done.set()

    async with open_bus(nats.url, name="test") as bus, bus.subscribe(subjects.RUNS_QUEUED, WorkQueued, work):
        bus.publish(WORK)
        await at_work.wait()
        nats.kill()
        await eventually(lambda: not bus.connected)
        may_end.set()
        await asyncio.wait_for(done.wait(), 20)


@pytest.mark.parametrize("way", ["never there", "dead", "hung", "hung with much to send"])
async def test_closing_ends_soon_whatever_nats_does(stopped_nats: NatsServer, way: str) -> None:
    async with _listening(stopped_nats) as (bus, bell):
        if way != "never there":
            stopped_nats.start()
            await _rings(bell)
            await eventually(lambda: bus.connected)
        if way == "dead":
            stopped_nats.kill()
        elif way.startswith("hung"):
            stopped_nats.hang()
        for _ in range(200 if way == "hung with much to send" else 1):
            bus.publish(WorkflowChanged(name="x" * 100_000))
        await asyncio.sleep(0.05)  # it has begun to send
        closing = time.perf_counter()
    assert time.perf_counter() - closing < 10  # it takes up to two seconds of an idle machine


async def test_a_hung_nats_stops_neither_publishers_nor_listeners_and_may_come_back(nats: NatsServer) -> None:
    async with _listening(nats) as (bus, bell):
        await _rings(bell)
        nats.hang()
        before = time.perf_counter()
        for _ in range(100):
            bus.publish(WorkflowChanged(name="x" * 100_000))
            await asyncio.sleep(0)
        bus.publish(WORK)
        assert time.perf_counter() - before < 25
        nats.go_on()
        await _rings(bell)


@pytest.mark.parametrize(
    "greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO\r\n", b"INFO {\r\n", b"INFO {}\r\n"]
)
async def test_a_server_that_greets_badly_is_left_for_the_real_one(stopped_nats: NatsServer, greeting: bytes) -> None:
    tried = asyncio.Event()

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        writer.close()
        tried.set()

    stranger = await asyncio.start_server(greet, "127.0.0.1", stopped_nats.port)
    async with _listening(stopped_nats) as (_, bell):
        await tried.wait()
        stranger.close()
        await stranger.wait_closed()
        stopped_nats.start()
        await _rings(bell)
