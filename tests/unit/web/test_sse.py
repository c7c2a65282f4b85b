from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from flowyard.web.slow_readers import SlowReaderLimit
from flowyard.web.sse import Around, ServerEvent
from support.waiting import eventually
from unit.web.conftest import Running, Service

OPEN = "flowyard_sse_streams_open"


async def take(response: httpx.Response, count: int) -> str:
    text = ""
    async for part in response.aiter_text():
        text += part
        if text.count("\n\n") >= count:
            break
    return text


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (ServerEvent("x", "note", "7"), b"id: 7\nevent: note\ndata: x\n\n"),
        (ServerEvent("a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (ServerEvent(""), b"data: \n\n"),
        (ServerEvent("a\u2028b"), "data: a\u2028b\n\n".encode()),
        (ServerEvent("\ud800"), b"data: ?\n\n"),
    ],
)
def test_an_event_on_the_wire(event: ServerEvent, wire: bytes) -> None:
    assert event.encode() == wire


@pytest.mark.parametrize(
    "event", [ServerEvent("x", "a\nb"), ServerEvent("x", None, "1\r2"), ServerEvent("x", None, "\0")]
)
def test_an_id_and_a_name_cant_smuggle_lines(event: ServerEvent) -> None:
    with pytest.raises(ValueError, match="single line"):
        event.encode()


async def test_a_client_gets_events_at_once(service: Service, running: Running) -> None:
    async with running() as client, client.stream("GET", "/v1/events") as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await take(response, 2) == "retry: 1000\n\nid: 1\nevent: note\ndata: first\n\n"
        assert service.metrics.value(OPEN) == 1


async def test_a_client_that_leaves_ends_the_events_at_once(service: Service, running: Running) -> None:
    async with running() as client:
        async with client.stream("GET", "/v1/events") as response:
            await take(response, 2)
        async with asyncio.timeout(1):
            await service.events_closed.wait()
        await eventually(lambda: service.metrics.value(OPEN) == 0)


async def test_a_quiet_stream_has_a_heartbeat(service: Service, running: Running) -> None:
    service.heartbeat_s = 0.02
    async with running() as client, client.stream("GET", "/v1/events") as response:
        assert (await take(response, 4)).endswith(": still here\n\n: still here\n\n")


async def test_clients_of_another_api_get_nothing_but_their_events_and_comments(
    service: Service, running: Running
) -> None:
    service.heartbeat_s, service.around = 0.02, Around(opening=b"", heartbeat=b": keep-alive\n\n")
    async with running() as client, client.stream("GET", "/v1/events") as response:
        assert await take(response, 3) == "id: 1\nevent: note\ndata: first\n\n" + 2 * ": keep-alive\n\n"


async def test_the_service_shutting_down_ends_the_stream_properly(service: Service, running: Running) -> None:
    async with running() as client, client.stream("GET", "/v1/events") as response:
        parts = response.aiter_text()
        await anext(parts)
        service.shutting_down.set()
        async with asyncio.timeout(1):
            assert [part async for part in parts][-1:] != [": still here\n\n"]
    assert service.events_closed.is_set()


async def test_a_stream_that_the_service_breaks_off_can_say_so(service: Service, running: Running) -> None:
    service.around = Around(at_shutdown=lambda: b"data: over\n\n")
    async with running() as client, client.stream("GET", "/v1/events") as response:
        parts = response.aiter_text()
        await anext(parts)
        service.shutting_down.set()
        assert "".join([part async for part in parts]).endswith("data: over\n\n")


async def test_events_that_end_end_the_stream(
    service: Service, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def two() -> AsyncGenerator[ServerEvent, None]:
        yield ServerEvent("1")
        yield ServerEvent("2")

    monkeypatch.setattr(service, "events", two)
    service.around = Around(at_shutdown=lambda: b"data: over\n\n")
    async with running() as client:
        assert (await client.get("/v1/events")).text == "retry: 1000\n\ndata: 1\n\ndata: 2\n\n"


async def test_a_stream_that_breaks_is_cut_off_and_logged(
    service: Service, running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> AsyncGenerator[ServerEvent, None]:
        yield ServerEvent("1")
        raise RuntimeError("oh")

    monkeypatch.setattr(service, "events", broken)
    async with running() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/v1/events")
    assert any(record.getMessage() == "request failed" for record in caplog.records)


async def test_a_client_that_reads_nothing_is_disconnected_at_its_deadline(
    service: Service, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless() -> AsyncGenerator[ServerEvent, None]:
        try:
            while True:
                yield ServerEvent("x" * 100_000)
                await asyncio.sleep(0)
        finally:
            service.events_closed.set()

    monkeypatch.setattr(service, "events", endless)
    monkeypatch.setattr(SlowReaderLimit, "read_within_s", 0.3)
    async with running() as client, client.stream("GET", "/v1/events"):
        async with asyncio.timeout(10):
            await service.events_closed.wait()


async def test_a_client_that_reads_slowly_keeps_its_stream(
    service: Service, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def many() -> AsyncGenerator[ServerEvent, None]:
        for _ in range(100):
            yield ServerEvent("x" * 100_000)

    monkeypatch.setattr(service, "events", many)
    monkeypatch.setattr(SlowReaderLimit, "read_within_s", 3.0)
    received = 0
    async with running() as client, client.stream("GET", "/v1/events") as response:
        async for part in response.aiter_bytes(500_000):
            received += len(part)
            await asyncio.sleep(0.2)
    assert received > 100 * 100_000


async def test_a_slow_client_slows_the_events_down(
    service: Service, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    async def endless() -> AsyncGenerator[ServerEvent, None]:
        nonlocal made
        while True:
            made += 1
            yield ServerEvent("x" * 100_000)
            await asyncio.sleep(0)

    monkeypatch.setattr(service, "events", endless)
    async with running() as client, client.stream("GET", "/v1/events"):
        before = -1
        while made != before:  # until all buffers are full
            before = made
            assert before < 1_000
            await asyncio.sleep(0.2)
