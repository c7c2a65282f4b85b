"""Lets requests to the MCP server, whose library is imported when the first one comes: it takes a second, and 30 MB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from starlette.types import Receive, Scope, Send

from flowyard.tasks import cancel

if TYPE_CHECKING:
    from flowyard_gateway.parts import GatewayParts

Handle: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class McpDoor:
    """One per process. `running` has to be entered before requests come."""

    def __init__(self) -> None:
        self._handle: asyncio.Future[Handle] | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At its end, calls that still go on are given up; their runs go on."""
        try:
            yield
        finally:
            await cancel(self._serving)

    async def handle(self, parts: GatewayParts, scope: Scope, receive: Receive, send: Send) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().create_future()
            self._serving.add(asyncio.create_task(self._serve(parts, self._handle)))
        handle = await asyncio.shield(self._handle)
        await handle(scope, receive, send)

    async def _serve(self, parts: GatewayParts, ready: asyncio.Future[Handle]) -> None:
        try:
            server = await asyncio.to_thread(import_module, "flowyard_gateway.mcp.server")
            endpoint = server.McpEndpoint(parts)
        except ImportError as error:
            # Whoever waits for it must learn of it; the next request tries again.
            self._handle = None
            ready.set_exception(error)
            return
        async with endpoint.running():
            ready.set_result(endpoint.handle)
            await asyncio.Event().wait()
