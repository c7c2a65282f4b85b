"""Announced tools: by executor and source, replaced as a whole, forgotten when nobody repeats them."""

from __future__ import annotations

import pytest

from flowyard.storage.agents import Agents, NewAgent
from flowyard.storage.announced_tools import AGAIN_S, AnnouncedSource, AnnouncedTools
from flowyard.storage.database import Database

FIND = {"name": "crm.find"}
SEARCH = {"name": "crm.search"}


@pytest.fixture
def announced(database: Database) -> AnnouncedTools:
    return AnnouncedTools(database)


async def test_an_executor_has_what_it_has_announced_last(announced: AnnouncedTools) -> None:
    await announced.announce("a", {"own": [FIND], "mcp:crm": [SEARCH]})
    await announced.announce("b", {"own": []})
    await announced.announce("a", {"own": [SEARCH, FIND]})
    assert (await announced.read()).announcements == [
        AnnouncedSource("a", "own", [SEARCH, FIND]),
        AnnouncedSource("b", "own", []),
    ]
    await announced.announce("a", {})
    assert [each.executor for each in (await announced.read()).announcements] == ["b"]


async def test_what_nobody_repeats_is_forgotten(database: Database, announced: AnnouncedTools) -> None:
    await announced.announce("a", {"own": [FIND]})
    await database.execute("UPDATE announced_tools SET announced_at = now() - make_interval(secs => $1)", 2 * AGAIN_S)
    assert [each.executor for each in (await announced.read()).announcements] == ["a"]
    await database.execute("UPDATE announced_tools SET announced_at = now() - make_interval(secs => $1)", 4 * AGAIN_S)
    assert (await announced.read()).announcements == []
    await announced.announce("b", {"own": [FIND]})
    assert await database.value("SELECT array_agg(executor) FROM announced_tools") == ["b"]


async def test_executors_that_are_there_are_known(database: Database, announced: AnnouncedTools) -> None:
    agents = Agents(database)
    for name in ("a", "lost"):
        await agents.register(NewAgent(name, name, "executor", "1", "box"))
    await agents.register(NewAgent("other", "other", "http", "1", "box"))
    await database.execute("UPDATE agents SET heartbeat_at = now() - interval '1 hour' WHERE id = 'lost'")
    assert (await announced.read()).executors == {"a"}
