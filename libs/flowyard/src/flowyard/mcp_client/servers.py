"""All servers of a process: those of its settings, and those that documents name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from flowyard.language.installation import Variables
from flowyard.language.mcp_servers import McpServer, RemoteServer
from flowyard.mcp_client.references import resolved
from flowyard.tasks import cancel
from flowyard.threads import in_daemon_thread
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

if TYPE_CHECKING:
    from flowyard.mcp_client.listed import ListedTool
    from flowyard.mcp_client.sessions import ServerSessions
    from flowyard.outbound.client import OutboundClient

log = logging.getLogger(__name__)

MOST_OF_DOCUMENTS: Final = 64
"""Servers of documents that are connected at a time."""
_IDLE_S: Final = 60.0
"""A server of a document that nobody has called for so long is left."""
_CLEAN_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """`own`: for the servers of the settings, whose addresses an administrator chose; `guarded`: for documents."""

    own: OutboundClient
    guarded: OutboundClient


class McpServers:
    """Made by `open_mcp_servers`."""

    def __init__(self, clients: Clients, environ: Mapping[str, str], variables: Variables) -> None:
        self._clients = clients
        self._environ = environ
        self._variables = variables
        self._sessions: dict[Any, ServerSessions] = {}

    async def tools(self, server: McpServer) -> tuple[Tool, ...]:
        """Those of a server as it lists them now, or as it has listed them a short time ago. Raises ToolFailed."""
        sessions = await self._of(server)
        return tuple(self._tool(server, each) for each in await sessions.tools())

    def _tool(self, server: McpServer, tool: ListedTool) -> Tool:
        async def run(arguments: Mapping[str, Any], context: ToolContext) -> Any:
            sessions = await self._of(server)
            return await sessions.call(tool.name, arguments, context.on_progress)

        return Tool(tool.facts, run, seconds=server.timeout, checked=tool.checked)

    async def _of(self, server: McpServer) -> ServerSessions:
        """Raises ToolFailed."""
        values = resolved(server, self._environ, self._variables)
        is_foreign = isinstance(server, RemoteServer) and server.of_document
        key = (server, tuple(values.items()))
        if (sessions := self._sessions.get(key)) is None:
            # Seconds, and 30 MB: nobody pays that who has no servers.
            library = await in_daemon_thread(lambda: import_module("flowyard.mcp_client.sessions"))
            if is_foreign and len(self._sessions) >= MOST_OF_DOCUMENTS and key not in self._sessions:
                await self._leave_oldest()
            http = self._clients.guarded if is_foreign else self._clients.own
            sessions = self._sessions.setdefault(key, library.ServerSessions(server, values, self._environ, http))
        return sessions

    async def _leave_oldest(self) -> None:
        idle = {key: each for key, each in self._foreign().items() if not each.calls}
        if not idle:
            raise ToolFailed(f"{MOST_OF_DOCUMENTS} servers of documents are being called already")
        await self._sessions.pop(min(idle, key=lambda key: idle[key].used_at)).aclose()

    def _foreign(self) -> dict[Any, ServerSessions]:
        return {key: each for key, each in self._sessions.items() if getattr(key[0], "of_document", False)}

    async def leave_idle(self) -> NoReturn:
        while True:
            await asyncio.sleep(_CLEAN_S)
            now = asyncio.get_running_loop().time()
            for key, sessions in self._foreign().items():
                if not sessions.calls and now - sessions.used_at > _IDLE_S:
                    self._sessions.pop(key)
                    await sessions.aclose()

    async def aclose(self) -> None:
        await asyncio.gather(*(sessions.aclose() for sessions in self._sessions.values()))


@asynccontextmanager
async def open_mcp_servers(
    clients: Clients, environ: Mapping[str, str], variables: Variables
) -> AsyncIterator[McpServers]:
    """`environ`: what references are read from. `variables`: those that documents may name."""
    servers = McpServers(clients, environ, variables)
    cleaning = asyncio.create_task(servers.leave_idle())
    try:
        yield servers
    finally:
        await cancel([cleaning])
        await servers.aclose()
