from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

import httpx
import pytest

from flowyard.errors.services import CannotListen
from flowyard.web.serve import serve
from unit.web.conftest import Running, Service

pytestmark = pytest.mark.slow

SERVICE: Final = """
import asyncio, sys
from fastapi import APIRouter
from flowyard.telemetry.logs import setup_logs
from flowyard.telemetry.metrics import Metrics
from flowyard.web.app import About, make_app
from flowyard.web.process import ends_on_signals, run_process
from flowyard.web.serve import serve
from flowyard.web.sse import EventStream, ServerEvent

ending = asyncio.Event()
metrics = Metrics(service="test", version="0")
router = APIRouter()

async def quiet():
    yield ServerEvent("first")
    await asyncio.Event().wait()

@router.get("/events", response_class=EventStream)
async def events() -> EventStream:
    return EventStream(quiet(), shutting_down=ending, metrics=metrics.http)

@router.get("/stuck")
async def stuck() -> None:
    print("stuck", flush=True)
    await asyncio.Event().wait()

async def work():
    await asyncio.sleep(float(sys.argv[3]))
    raise RuntimeError("work failed")

async def main():
    app = make_app(About("t", "0", ""), routers=[router], checks=[], metrics=metrics, shutting_down=ending)
    with ends_on_signals(ending):
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(work())
            await serve(app, host="127.0.0.1", port=int(sys.argv[1]), grace_s=float(sys.argv[2]), shutting_down=ending,
                        on_listening=lambda port: print(port, flush=True))
            worker.cancel()

setup_logs("test", "info")
sys.exit(run_process(main()))
"""


class Child:
    """A service in a process of its own."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)

    async def printed(self, text: str) -> None:
        assert self.process.stdout is not None
        await self.process.stdout.readuntil(text.encode())

    async def logged(self, text: str) -> None:
        assert self.process.stderr is not None
        await self.process.stderr.readuntil(text.encode())

    async def end(self) -> tuple[int, str]:
        async with asyncio.timeout(10):
            _, log = await self.process.communicate()
        await self.client.aclose()
        assert self.process.returncode is not None
        return self.process.returncode, log.decode()


async def start(tmp_path: Path, *, port: int = 0, grace_s: float = 5, fails_after_s: float = 100) -> Child:
    program = tmp_path / "service.py"
    program.write_text(SERVICE)
    arguments = map(str, (program, port, grace_s, fails_after_s))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    return Child(process, int(await process.stdout.readline() or 0))


async def test_a_signal_ends_a_service_with_an_open_stream_well_within_its_grace(tmp_path: Path) -> None:
    child = await start(tmp_path, grace_s=50)
    async with child.client.stream("GET", "/events") as response:
        parts = response.aiter_text()
        await anext(parts)
        child.process.terminate()
        assert "".join([part async for part in parts]) in {"", "data: first\n\n"}
    code, log = await child.end()
    assert code == 0
    assert "Traceback" not in log


async def test_a_request_that_never_ends_is_cut_off_after_the_grace(tmp_path: Path) -> None:
    child = await start(tmp_path, grace_s=0.5)
    stuck = asyncio.create_task(child.client.get("/stuck"))
    await child.printed("stuck")
    child.process.terminate()
    response = await stuck
    assert (response.status_code, response.json()["code"]) == (503, "shutting_down")
    code, log = await child.end()
    assert code == 0
    assert "Traceback" not in log


async def test_a_second_signal_ends_the_process_now(tmp_path: Path) -> None:
    child = await start(tmp_path, grace_s=60)
    stuck = asyncio.create_task(child.client.get("/stuck"))
    await child.printed("stuck")
    child.process.terminate()
    await child.logged("SIGTERM")
    child.process.terminate()
    code, _ = await child.end()
    assert code == 128 + 15
    with pytest.raises(httpx.TransportError):
        await stuck


async def test_background_work_that_fails_ends_the_service_and_its_streams(tmp_path: Path) -> None:
    child = await start(tmp_path, grace_s=60, fails_after_s=0.5)
    async with child.client.stream("GET", "/events") as response:
        await response.aread()
    code, log = await child.end()
    assert code == 1
    assert "work failed" in log


async def test_a_taken_port_is_one_clear_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, log = await (await start(tmp_path, port=port)).end()
    assert code == 1
    (line,) = log.splitlines()
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in line


async def test_an_address_that_isnt_ours_is_an_error(service: Service) -> None:
    with pytest.raises(CannotListen, match=r"can't listen on 192\.0\.2\.1:80"):
        await serve(service.app(), host="192.0.2.1", port=80, grace_s=1, shutting_down=service.shutting_down)


async def test_after_the_end_nobody_listens(running: Running) -> None:
    async with running() as client:
        url = client.base_url
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((url.host, url.port))
