from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from flowyard.errors.requests import AgentTaken, UnknownAgent
from flowyard.storage.agents import SILENT_S, Agents, NewAgent
from flowyard.storage.database import Database

EXECUTOR = NewAgent("executor-1", "executor", "executor", "0.1.0", "box", {"slots": 32})


@pytest.fixture
def agents(database: Database) -> Agents:
    return Agents(database)


async def grow_old(database: Database, seconds: float) -> None:
    await database.execute("UPDATE agents SET heartbeat_at = heartbeat_at - make_interval(secs => $1)", seconds)


async def test_a_registered_agent_is_there(agents: Agents) -> None:
    agent, is_new = await agents.register(EXECUTOR)
    assert is_new
    assert (agent.id, agent.kind, agent.capabilities, agent.load) == ("executor-1", "executor", {"slots": 32}, {})
    assert replace(await agents.get("executor-1"), silent_s=0.0) == agent
    assert [replace(each, silent_s=0.0) for each in await agents.page()] == [agent]


async def test_to_register_again_brings_it_up_to_date(agents: Agents) -> None:
    first, _ = await agents.register(EXECUTOR)
    again, is_new = await agents.register(replace(EXECUTOR, version="0.2.0"))
    assert not is_new
    assert (again.version, again.registered_at) == ("0.2.0", first.registered_at)
    assert again.heartbeat_at >= first.heartbeat_at
    assert len(await agents.page()) == 1


async def test_a_heartbeat_keeps_it_registered_and_reports_its_load(database: Database, agents: Agents) -> None:
    await agents.register(EXECUTOR)
    await grow_old(database, 50)
    await agents.heartbeat("executor-1", {"slots_used": 3}, key_id=None)
    await grow_old(database, 50)
    assert (await agents.get("executor-1")).load == {"slots_used": 3}
    assert await agents.sweep() == []


async def test_without_a_heartbeat_it_is_gone_when_its_time_is_over_swept_or_not(
    database: Database, agents: Agents
) -> None:
    await agents.register(EXECUTOR)
    await grow_old(database, 61)
    late = agents.heartbeat("executor-1", {}, key_id=None)
    for ask in (agents.get("executor-1"), late, agents.deregister("executor-1")):
        with pytest.raises(UnknownAgent):
            await ask
    assert await agents.page() == []


async def test_a_sweep_forgets_who_is_gone_and_nobody_else(database: Database, agents: Agents) -> None:
    await agents.register(EXECUTOR)
    await grow_old(database, 61)
    await agents.register(replace(EXECUTOR, id="executor-2"))
    assert await agents.sweep() == ["executor-1"]
    assert await database.value("SELECT count(*) FROM agents") == 1


async def test_an_executor_is_silent_when_its_heartbeats_end_and_not_when_it_has_left(
    database: Database, agents: Agents
) -> None:
    for name in ("killed", "left", "other"):
        await agents.register(replace(EXECUTOR, id=name, name=name, kind="http" if name == "other" else "executor"))
    await agents.deregister("left")
    assert await agents.silent_executors() == []
    await grow_old(database, SILENT_S + 1)
    assert await agents.silent_executors() == ["killed"]
    await agents.heartbeat("killed", {}, key_id=None)
    assert await agents.silent_executors() == []


async def test_one_that_was_gone_and_comes_back_is_new(database: Database, agents: Agents) -> None:
    first, _ = await agents.register(EXECUTOR)
    await grow_old(database, 61)
    again, is_new = await agents.register(EXECUTOR)
    assert is_new
    assert again.registered_at > first.registered_at


async def test_one_that_leaves_is_gone_at_once(agents: Agents) -> None:
    await agents.register(EXECUTOR)
    await agents.deregister("executor-1")
    with pytest.raises(UnknownAgent):
        await agents.heartbeat("executor-1", {}, key_id=None)
    with pytest.raises(UnknownAgent):
        await agents.deregister("executor-1")


async def test_the_list_comes_in_pages_and_by_kind(agents: Agents) -> None:
    for name in ("c", "a", "b"):
        await agents.register(replace(EXECUTOR, id=name, kind="http" if name == "b" else "executor"))
    assert [a.id for a in await agents.page(limit=2)] == ["a", "b"]
    assert [a.id for a in await agents.page(after="b")] == ["c"]
    assert [a.id for a in await agents.page(kind="executor")] == ["a", "c"]


async def test_many_registrations_of_one_agent_are_one_agent(agents: Agents) -> None:
    await asyncio.gather(*(agents.register(EXECUTOR) for _ in range(10)))
    assert len(await agents.page()) == 1


async def test_capabilities_may_hold_what_jsonb_refuses(agents: Agents) -> None:
    agent, _ = await agents.register(replace(EXECUTOR, capabilities={"odd": "\0\ud800"}))
    assert agent.capabilities == {"odd": "\0\ud800"}


async def test_an_id_belongs_to_the_key_that_registered_it(database: Database, agents: Agents) -> None:
    mine = NewAgent("translator", "translator", "http", "1", "box", key_id="mine")
    await agents.register(mine)
    for attack in (
        agents.register(replace(mine, host="elsewhere", key_id="other")),
        agents.heartbeat("translator", {"slots": 0}, key_id="other"),
        agents.heartbeat("translator", {"slots": 0}, key_id=None),
    ):
        with pytest.raises(AgentTaken):
            await attack
    agent = await agents.heartbeat("translator", {"slots": 4}, key_id="mine")
    assert (agent.host, agent.load) == ("box", {"slots": 4})
    await grow_old(database, 61)
    assert (await agents.register(replace(mine, key_id="other")))[1]


async def test_an_executor_can_be_neither_replaced_nor_kept_out(agents: Agents) -> None:
    squatter = replace(EXECUTOR, kind="http", key_id="other")
    await agents.register(squatter)
    await agents.register(EXECUTOR)
    with pytest.raises(AgentTaken):
        await agents.register(squatter)
    with pytest.raises(AgentTaken):
        await agents.heartbeat("executor-1", {}, key_id="other")
    assert (await agents.get("executor-1")).kind == "executor"


async def test_an_agent_of_the_release_before_can_register_again(database: Database, agents: Agents) -> None:
    mine = NewAgent("translator", "translator", "http", "1", "box", key_id="mine")
    await agents.register(mine)
    await database.execute("UPDATE agents SET key_id = NULL")
    await agents.heartbeat("translator", {}, key_id="mine")
    await agents.register(mine)
