"""Connections that ask for nothing, ask slowly, or ask too much: they are closed, and others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any, Final

import pytest

from support.campaigns import Campaigns

pytestmark = pytest.mark.slow

SERVICE: Final = """
import asyncio, sys
from fastapi import APIRouter, Request
from flowyard.telemetry.logs import setup_logs
from flowyard.telemetry.metrics import Metrics
from flowyard.web.app import About, make_app
from flowyard.web.connections import ConnectionLimits
from flowyard.web.process import ends_on_signals, run_process
from flowyard.web.serve import serve

ending = asyncio.Event()
router = APIRouter()

@router.post("/length")
async def length(request: Request) -> int:
    return len(await request.body())

@router.get("/wait")
async def wait() -> None:
    await asyncio.sleep(60)

async def main():
    app = make_app(About("t", "0", ""), routers=[router], checks=[], metrics=Metrics(service="t", version="0"),
                   shutting_down=ending)
    limits = ConnectionLimits(most=int(sys.argv[1]), head_s=float(sys.argv[2]), body_s=float(sys.argv[3]))
    with ends_on_signals(ending):
        await serve(app, host="127.0.0.1", port=0, grace_s=1, shutting_down=ending, limits=limits,
                    on_listening=lambda port: print(port, flush=True))

setup_logs("test", "info")
sys.exit(run_process(main()))
"""
ASKS: Final = b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n"


@contextlib.contextmanager
def service(
    *, most: int = 1000, head_s: float = 10, body_s: float = 30, descriptors: int | None = None
) -> Iterator[int]:
    """Yields the port of a service in a process of its own. `descriptors`: its `ulimit -n`."""
    arguments = map(str, (most, head_s, body_s))
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        if descriptors is not None:
            # It is still importing.
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a service as it is by default: what one connection sends it is nothing to the next."""
    with service() as port:
        yield port


@pytest.fixture(scope="module")
def impatient_port() -> Iterator[int]:
    """Of a service that waits for a second."""
    with service(head_s=1, body_s=1) as port:
        yield port


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(port: int, request: bytes, *, within_s: float = 10) -> tuple[int, dict[str, Any]]:
    """The status and the problem that a connection is answered with."""
    async with connection(port) as (reader, writer), asyncio.timeout(within_s):
        writer.write(request)
        return await answer_of(reader)


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(next(line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")))
    body = json.loads(await reader.readexactly(length))
    return int(head.split()[1]), body if isinstance(body, dict) else {"body": body}


@pytest.fixture(autouse=True)
def descriptors_of_ours() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_who_asks_properly_is_answered_beside_more_idle_connections_than_descriptors(campaign: Campaigns) -> None:
    with service(descriptors=256) as port:
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(400):
                await opened.enter_async_context(connection(port))
            for number in range(5):
                with campaign("connections that ask for nothing").attempt(number):
                    began = monotonic()
                    assert (await answer(port, ASKS))[0] == 200
                    assert monotonic() - began < 5


async def test_a_service_with_as_many_requests_as_connections_says_so(campaign: Campaigns) -> None:
    with service(most=8) as port:
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(8):
                _, writer = await opened.enter_async_context(connection(port))
                writer.write(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.5)
            with campaign("connections that ask for nothing").attempt("all at work"):
                status, problem = await answer(port, b"")
                assert (status, problem["code"]) == (503, "too_many_connections")


@pytest.mark.parametrize(
    ("what", "sent", "trickle", "code"),
    [
        ("a head that never ends", b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: y\r\n", "request_too_slow"),
        (
            "a body that stops",
            b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\nabc",
            b"",
            "request_too_slow",
        ),
        ("single bytes", b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\n", b"a", "request_too_slow"),
    ],
)
async def test_a_slow_request_is_told_so_and_closed(
    impatient_port: int, campaign: Campaigns, what: str, sent: bytes, trickle: bytes, code: str
) -> None:
    async with connection(impatient_port) as (reader, writer):
        trickling = asyncio.create_task(_trickle(writer, sent, trickle))
        with campaign("requests that come slowly").attempt(what):
            async with asyncio.timeout(10):
                status, problem = await answer_of(reader)
                assert (status, problem["code"]) == (408, code)
                assert await reader.read() == b""
        trickling.cancel()


@pytest.mark.parametrize(("what", "sent"), [("nothing", b""), ("empty lines", b"\r\n")])
async def test_a_connection_that_sends_no_request_is_closed(
    impatient_port: int, campaign: Campaigns, what: str, sent: bytes
) -> None:
    async with connection(impatient_port) as (reader, writer):
        trickling = asyncio.create_task(_trickle(writer, ASKS if sent else b"", sent))
        with campaign("requests that come slowly").attempt(what):
            async with asyncio.timeout(10):
                await reader.read()
        trickling.cancel()


async def _trickle(writer: asyncio.StreamWriter, first: bytes, then: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(first)
        while True:
            await asyncio.sleep(0.1)
            writer.write(then)
            await writer.drain()


async def test_a_long_body_that_keeps_coming_is_read(impatient_port: int, campaign: Campaigns) -> None:
    async with connection(impatient_port) as (reader, writer):
        writer.write(b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 120000\r\n\r\n")
        for _ in range(12):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.2)
        with campaign("requests that come slowly").attempt("an honest one"):
            assert await answer_of(reader) == (200, {"body": 120_000})


@pytest.mark.parametrize(
    ("what", "head"),
    [
        ("one long header", b"x: " + b"y" * 70_000),
        ("many headers", b"\r\n".join(b"h%d: 1" % i for i in range(101))),
        ("a header without end", b"x: " + b"y" * 2_000_000),
    ],
)
async def test_a_large_head_is_refused_with_a_reason(port: int, campaign: Campaigns, what: str, head: bytes) -> None:
    async with connection(port) as (reader, writer), asyncio.timeout(10):
        writer.write(ASKS)
        assert (await answer_of(reader))[0] == 200
        with campaign("large heads").attempt(what):
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n" + head + b"\r\n\r\n")
            status, problem = await answer_of(reader)
            assert (status, problem["code"]) == (431, "head_too_large")


async def test_a_long_address_is_refused(port: int, campaign: Campaigns) -> None:
    with campaign("large heads").attempt("an address"):
        status, problem = await answer(port, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (status, problem["code"]) == (431, "head_too_large")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_isnt_http_is_told_so(port: int, campaign: Campaigns, sent: bytes) -> None:
    with campaign("what isn't HTTP").attempt(sent):
        status, problem = await answer(port, sent)
        assert (status, problem["code"]) == (400, "bad_http")
