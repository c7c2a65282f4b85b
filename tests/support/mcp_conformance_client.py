"""What the conformance suite of MCP starts as a client: `python mcp_conformance_client.py URL`.

It does with a server what a run would do: it lists the tools, and calls them, through the room of the executor.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flowyard.language.mcp_servers import RemoteServer
from flowyard.tools.tool import Tool, ToolContext
from support.mcp_servers import opened_servers

ARGUMENTS = {"add_numbers": {"a": 5, "b": 3}}


def arguments_of(tool: Tool, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the suite wants the tool to be called with, or something of the right types."""
    name = tool.name.partition(".")[2]
    if name in given:
        return dict(given[name])
    values = {"string": "text", "number": 1, "integer": 1, "boolean": True, "array": [], "object": {}}
    return ARGUMENTS.get(name) or {
        argument: values.get(tool.facts.arguments[argument].get("type"), "text") for argument in tool.facts.required
    }


async def main(url: str) -> None:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    given = {call["name"]: call["arguments"] for call in context.get("toolCalls", [])}
    server = RemoteServer(name="suite", url=url)
    async with opened_servers() as servers:
        for tool in await servers.tools(server):
            about = ToolContext(key="conformance", now=datetime.now(UTC))
            await tool.run(arguments_of(tool, given), about)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
