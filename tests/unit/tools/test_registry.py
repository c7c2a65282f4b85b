"""Tools of sources: they are there with those that are built in, come and go, and take nobody's name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from flowyard.language.tools import ToolFacts
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.sources import ToolSource
from flowyard.tools.tool import Tool, ToolContext


async def nothing(arguments: Mapping[str, Any], context: ToolContext) -> None:
    del arguments, context


def tool(name: str) -> Tool:
    return Tool(ToolFacts(name=name, description="", parameters={"type": "object"}), nothing)


def test_tools_of_a_source_are_found_beside_those_that_are_built_in() -> None:
    registry = ToolRegistry(sources=[ToolSource("own", [tool("crm.find")])])
    assert [each.name for each in registry] == [*(each.name for each in built_in()), "crm.find"]
    assert registry.facts["crm.find"].name == "crm.find"
    assert registry.get("time.now") is not None
    assert registry.get("crm_find") is None


def test_a_source_may_have_other_tools_later() -> None:
    source, quiet = ToolSource("mcp:crm", [tool("crm.find")]), ToolSource("own", [tool("own.one")])
    registry = ToolRegistry((), [source, quiet])
    before = registry.facts_of_sources
    assert registry.facts_of_sources is before
    source.replace([tool("crm.search")])
    assert [each.name for each in registry] == ["crm.search", "own.one"]
    assert registry.get("crm.find") is None
    after = {name: [facts.name for facts in tools] for name, tools in registry.facts_of_sources.items()}
    assert after == {"mcp:crm": ["crm.search"], "own": ["own.one"]}


@pytest.mark.parametrize("name", ["time.now", "time_now", "own.find", "own_find", "no name", "x" * 65, "9lives"])
def test_a_tool_of_a_source_is_left_out_if_it_can_not_have_its_name(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = ToolSource("own", [tool("own.find")]), ToolSource("other", [tool(name), tool("other.good")])
    with caplog.at_level(logging.WARNING):
        registry = ToolRegistry(sources=[own, other])
        assert [facts.name for facts in registry.facts_of_sources["other"]] == ["other.good"]
    assert registry.get("time.now") in built_in()
    assert [record.__dict__["tool"] for record in caplog.records] == [name]
