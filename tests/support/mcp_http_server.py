"""A server of MCP over HTTP, with sessions as revision 2025-11-25 has them, that does what a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from flowyard.language.mcp_servers import RemoteServer
from support.mcp_bad_server import text, tool


@dataclass
class HttpServer:
    """`received`: the methods of all messages; `headers`: of the last one."""

    habit: str = ""
    url: str = ""
    session: int = 0
    received: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def remote(self, **about: Any) -> RemoteServer:
        return RemoteServer(**{"name": "far", "url": self.url, **about})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers = dict(request.headers)
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        method = message["method"]
        self.received.append(method)
        if "id" not in message:
            return web.Response(status=202)
        if method == "initialize":
            self.session += 1
            facts = {"capabilities": {"tools": {}}, "serverInfo": {"name": "far", "version": "1"}}
            result = {"protocolVersion": message["params"]["protocolVersion"], **facts}
            return self._answer(message, result, {"Mcp-Session-Id": str(self.session)})
        if method == "server/discover":
            return web.Response(status=404)
        if request.headers.get("Mcp-Session-Id") != str(self.session):
            return web.Response(status=404)
        if method == "tools/list":
            return self._answer(message, {"tools": [tool()]})
        return await self._call(request, message)

    async def _call(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        match self.habit:
            case "large":
                return self._answer(message, text("x" * 3_000_000))
            case "redirects":
                return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/mcp"})
            case "no json":
                return web.Response(text="{]", content_type="application/json")
            case "refuses":
                return web.Response(status=401)
            case "slow" | "flood" | "trickles":
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                token = message["params"].get("_meta", {}).get("progressToken")
                note = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
                if self.habit == "flood":
                    while True:
                        await response.write(f"data: {json.dumps({'jsonrpc': '2.0', **note})}\n\n".encode() * 20)
                        # It shares the loop of the test.
                        await asyncio.sleep(0)
                while self.habit == "trickles":
                    await response.write(b":\n")
                    await asyncio.sleep(0.01)
                await asyncio.Event().wait()
        return self._answer(message, text(message["params"]["arguments"]["text"]))

    @staticmethod
    def _answer(message: dict[str, Any], result: Any, headers: dict[str, str] | None = None) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


@asynccontextmanager
async def serving(habit: str = "") -> AsyncIterator[HttpServer]:
    server = HttpServer(habit)
    app = web.Application()
    app.router.add_route("*", "/mcp", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    try:
        yield server
    finally:
        await runner.cleanup()
