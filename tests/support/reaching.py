"""Tools that reach out, called as a node calls them: with permissions, and through the guarded client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.outbound.allowlist import Allowlist, read_allowlist
from flowyard.outbound.client import open_outbound
from flowyard.outbound.resolving import Lookup, system_lookup
from flowyard.tools.calling import call_tool
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import NO_SERVICES, ToolServices
from flowyard.tools.tool import ToolContext, ToolResult

LOOPBACK = read_allowlist("127.0.0.1")
CONTEXT = ToolContext(key="run:node:1/0.0", now=datetime(2026, 12, 1, 12, tzinfo=UTC))


async def called(
    name: str,
    arguments: Mapping[str, Any],
    *,
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
    services: ToolServices = NO_SERVICES,
    addresses: Allowlist = LOOPBACK,
    lookup: Lookup = system_lookup,
) -> ToolResult:
    """`allow`, `deny`: as in a document; `addresses`: those that may be reached although they aren't public."""
    async with open_outbound({}, addresses, lookup=lookup) as http:
        tool = ToolRegistry(built_in(replace(services, http=http, trusted_http=http))).get(name)
        assert tool is not None
        return await call_tool(tool, ToolUse(name, allow, deny), arguments, CONTEXT, NO_RULES)


def answering(body: bytes | str, kind: str = "application/json", status: int = 200, *headers: str) -> bytes:
    """An answer of HTTP. `headers`: more of them, as lines."""
    data = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status} Answer",
        f"Content-Type: {kind}",
        f"Content-Length: {len(data)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data
