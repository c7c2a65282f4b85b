"""Calls of tools as nodes make them, without a node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.tools.calling import call_tool
from flowyard.tools.folders import Folder, Folders
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import ToolContext, ToolResult

CONTEXT: Final = ToolContext(key="run:node:1/0.0", now=datetime(2026, 11, 30, 23, 30, 15, 999, tzinfo=UTC))


def with_folders(**folders: Path) -> ToolRegistry:
    """The tools of an installation that shares these folders. Into one whose name ends with `out`, they may write."""
    shared = {name: Folder(name, str(path), is_writable=name.endswith("out")) for name, path in folders.items()}
    return ToolRegistry(built_in(ToolServices(folders=Folders(shared))))


def called(
    name: str, arguments: Mapping[str, Any] | str, *, tools: ToolRegistry | None = None, use: ToolUse | None = None
) -> ToolResult:
    """`use`: what the document permits; by default, everything."""
    tool = (tools or ToolRegistry()).get(name)
    assert tool is not None
    return asyncio.run(call_tool(tool, use or ToolUse(name, ()), arguments, CONTEXT, NO_RULES))
