"""Servers of MCP for tests: real ones, and one with bad habits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any, Final

from flowyard.language.installation import KEYS_AND_TOKENS, Variables
from flowyard.language.mcp_servers import LocalServer, McpServer
from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.mcp_client.servers import Clients, McpServers, open_mcp_servers
from flowyard.outbound.allowlist import PUBLIC_ONLY, read_allowlist
from flowyard.outbound.client import open_outbound
from flowyard.tools.calling import call_tool
from flowyard.tools.tool import OnProgress, ToolContext, ToolResult, unnoticed

BAD_SERVER: Final = Path(__file__).parent / "mcp_bad_server.py"


def bad_server(habit: str, notes: Path | None = None, **about: Any) -> LocalServer:
    """A program that does what its habit says. `notes`: a folder, where it leaves files."""
    env = (("NOTES", str(notes)),) if notes is not None else ()
    args = ("-I", "-S", "-B", str(BAD_SERVER), habit)
    return LocalServer(**{"name": "bad", "command": sys.executable, "args": args, "env": env, **about})


@asynccontextmanager
async def opened_servers(
    environ: Mapping[str, str] = os.environ, variables: Variables = KEYS_AND_TOKENS, *, allow: str = ""
) -> AsyncIterator[McpServers]:
    """`allow`: addresses that documents may reach; the settings' servers may be anywhere on this machine."""
    async with (
        open_outbound({}, read_allowlist("127.0.0.1")) as own,
        open_outbound({}, read_allowlist(allow) if allow else PUBLIC_ONLY) as guarded,
        open_mcp_servers(Clients(own=own, guarded=guarded), environ, variables) as servers,
    ):
        yield servers


async def call(
    servers: McpServers, server: McpServer, name: str, arguments: Mapping[str, Any], on_progress: OnProgress = unnoticed
) -> ToolResult:
    """A call as a step makes it."""
    tools = {tool.name: tool for tool in await servers.tools(server)}
    context = ToolContext(key="a key", now=datetime.now(UTC), on_progress=on_progress)
    return await call_tool(tools[f"{server.name}.{name}"], ToolUse(name, ()), arguments, context, NO_RULES)


@asynccontextmanager
async def loop_watched() -> AsyncIterator[Callable[[], float]]:
    """For how long, in seconds, this process has held its event loop at most: only time in which it computed counts."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        clock = asyncio.get_running_loop().time
        while True:
            began, computed = clock(), process_time()
            await asyncio.sleep(0.01)
            longest = max(longest, min(clock() - began, process_time() - computed) - 0.01)

    watching = asyncio.create_task(watch())
    try:
        yield lambda: longest
    finally:
        watching.cancel()
