"""An executor announces the tools that it has from sources, and again when they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flowyard.language.tools import ToolFacts
from flowyard.storage.announced_tools import AnnouncedTools
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.sources import ToolSource
from flowyard.tools.tool import Tool, ToolContext
from flowyard_executor.parts import ExecutorParts
from support.executors import Yard
from support.in_process import executing
from support.waiting import eventually


async def nothing(arguments: Mapping[str, Any], context: ToolContext) -> None:
    del arguments, context


def tool(name: str) -> Tool:
    return Tool(ToolFacts(name=name, description="", parameters={"type": "object"}), nothing)


async def test_tools_of_sources_are_announced_as_they_are_now(yard: Yard) -> None:
    source = ToolSource("own", [tool("crm.find")])
    registry = ToolRegistry(sources=[source])
    announced = AnnouncedTools(yard.database)

    async def names() -> list[str]:
        return [data["name"] for each in (await announced.read()).announcements for data in each.tools]

    async def are(expected: list[str]) -> bool:
        return await names() == expected

    def with_source(parts: ExecutorParts) -> ExecutorParts:
        return replace(parts, attempt=replace(parts.attempt, tools=registry))

    async with executing(yard, change=with_source) as executor:
        await eventually(lambda: are(["crm.find"]))
        source.replace([tool("crm.search")])
        await eventually(lambda: are(["crm.search"]))
        known = executor.parts.installation.tools
        assert known is not None
        assert "crm.search" in known
    assert await names() == ["crm.search"], "while it is started anew, documents may name them"
