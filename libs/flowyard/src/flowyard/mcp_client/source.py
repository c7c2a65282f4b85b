"""The tools of the installation's servers, which are listed when the process starts, and again and again."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from flowyard.language.mcp_servers import McpServer
from flowyard.mcp_client.servers import McpServers
from flowyard.tools.sources import ToolSource
from flowyard.tools.tool import ToolFailed

log = logging.getLogger(__name__)

_LOOK_S: Final = 15.0
"""Between looks at a list, which is only asked for if it isn't fresh any more."""


class ServerSource(ToolSource):
    """Of one server. `keep` has to run."""

    def __init__(self, server: McpServer, servers: McpServers) -> None:
        super().__init__(f"mcp:{server.name}", prefix=server.name)
        self._server = server
        self._servers = servers
        self._fault = ""

    async def ready(self) -> None:
        """Raises ToolFailed if it can't be reached, and has never been."""
        if not self.version:
            await self._look()

    async def keep(self) -> NoReturn:
        while True:
            try:
                await self._look()
                self._fault = ""
            except ToolFailed as error:
                # It keeps the tools that it had: calls say what is wrong.
                if str(error) != self._fault:
                    log.warning("a server of MCP can't be asked for its tools", extra={"error": str(error)})
                self._fault = str(error)
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        tools = await self._servers.tools(self._server)
        if not self.version or [tool.facts for tool in tools] != [tool.facts for tool in self.tools]:
            self.replace(tools)
