"""What an installation knows of the tools that its executors have announced."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.language.installation import Installation
from flowyard.language.tools import ToolFacts
from flowyard.service.known_tools import with_announced
from flowyard.storage.announced_tools import Announced, AnnouncedSource

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
FIND = ToolFacts(
    name="crm.find", description="Finds.", parameters=SCHEMA, effects=frozenset({"network"}), guarded="name"
)
NOW = ToolFacts(name="time.now", description="", parameters={"type": "object"})
INSTALLATION = Installation(tools={"time.now": NOW})


def announced(*tools: tuple[str, dict[str, Any]], there: str = "a b") -> Installation:
    announcements = [AnnouncedSource(executor, "own", [data]) for executor, data in tools]
    return with_announced(INSTALLATION, Announced(announcements, frozenset(there.split())))


def test_facts_are_announced_and_read_again() -> None:
    assert ToolFacts.from_data(FIND.data) == FIND
    assert ToolFacts.from_data({**NOW.data, "of a later version": 1}) == NOW


def test_what_all_executors_have_is_known() -> None:
    known = announced(("a", FIND.data), ("b", FIND.data))
    assert known.tools == {"time.now": NOW, "crm.find": FIND}
    assert known.uneven_tools == {}


@pytest.mark.parametrize(
    ("of_b", "why"),
    [
        ([], "only 1 of 2 executors have it"),
        ([("b", {**FIND.data, "description": "Other."})], "it isn't the same at all executors"),
    ],
)
def test_what_not_all_executors_have_alike_is_known_and_marked(of_b: list[tuple[str, Any]], why: str) -> None:
    known = announced(("a", FIND.data), *of_b)
    assert known.tools is not None
    assert known.tools["crm.find"] == FIND
    assert known.uneven_tools == {"crm.find": why}


def test_an_executor_that_has_gone_leaves_its_tools_to_the_one_that_takes_its_place() -> None:
    assert announced(("gone", FIND.data), there="").uneven_tools == {}
    assert announced(("gone", FIND.data), ("a", FIND.data), there="a").uneven_tools == {}
    assert announced(("gone", FIND.data), there="a").uneven_tools == {"crm.find": "only 0 of 1 executors have it"}


@pytest.mark.parametrize(
    "data",
    [
        {**NOW.data, "description": "Another."},
        {**NOW.data, "name": "time_now"},
        {**FIND.data, "name": "no name"},
        {**FIND.data, "effects": ["explodes"]},
        {**FIND.data, "effects": [["network"]]},
        {**FIND.data, "parameters": "text"},
        {},
    ],
)
def test_what_is_no_tool_or_is_built_in_changes_nothing(data: dict[str, Any]) -> None:
    assert announced(("a", data)).tools == INSTALLATION.tools
