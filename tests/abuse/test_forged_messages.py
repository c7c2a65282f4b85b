"""Whoever has the NATS password of one service publishes whatever that service may: nothing that counts changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.messages import (
    Announcement,
    KeyChanged,
    ModelHeld,
    RunControl,
    RunEvents,
    RunFollowed,
    RunTokens,
    WorkflowChanged,
    WorkQueued,
)
from flowyard.bus.subjects import PERMISSIONS
from flowyard.control.live import Live
from flowyard.language.nodes import ModelSettings
from flowyard.runs.run import Entry
from flowyard.storage.agents import Agents
from flowyard.storage.history import History
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.stack.start import USERS
from flowyard_executor.holds import place_of
from support.attempts import WireModel, held
from support.executors import Yard, open_yard
from support.in_process import executing
from support.stories import CHAIN
from support.waiting import eventually

FOOLED_S = 2.0
"""Nobody may believe a forgery for longer."""


@pytest.fixture
def nats(server_home: Path) -> Iterator[NatsServer]:
    server = start_nats(server_home / "nats", users=USERS)
    yield server
    server.process.stop()


def url(nats: NatsServer, user: str) -> str:
    return nats.url(user).get_secret_value()


def forgeries(run_id: UUID, seq: int, place: str) -> list[Announcement]:
    """`seq`: of the run's next event. `place`: of the model that it calls."""
    return [
        RunControl(run_id=run_id, action="cancel"),
        RunEvents(run_id=run_id, last_seq=seq, has_moved=False),
        RunEvents(run_id=run_id, last_seq=seq, has_moved=True),
        RunTokens(run_id=run_id, epoch=99, node="second", visit=1, call=9, offset=0, text="forged"),
        ModelHeld(place=place, wait_s=60),
        RunFollowed(run_id=run_id, from_start=True),
        WorkflowChanged(name="chain"),
        KeyChanged(id="aaaaaaaa"),
        WorkQueued(),
    ]


@dataclass
class Reader:
    """Follows a run over the bus of the gateway. `types`: of the events that it was given."""

    types: list[str]
    has_ended: bool = False

    async def read(self, bus: Bus, yard: Yard, run_id: UUID) -> None:
        live = Live(bus, History(yard.database), yard.runs)
        async with live.running(asyncio.Event()):
            with live.listen(run_id, after=0) as listener:
                listener.read_again()
                async for item in live.follow(listener):
                    assert isinstance(item, Entry)
                    assert "forged" not in str(item.data)
                    self.types.append(item.type)
            self.has_ended = True


@pytest.mark.parametrize("user", PERMISSIONS)
async def test_a_forger_with_the_password_of_a_service_changes_nothing_and_fools_nobody(
    nats: NatsServer, database_url: str, user: str
) -> None:
    wire, free = WireModel(), asyncio.Event()
    wire.answers["second"] = held(free)
    async with (
        open_yard(database_url, url(nats, "executor"), wire.behave) as yard,
        executing(yard) as one,
        open_bus(url(nats, "gateway"), name="gateway") as gateway,
        open_bus(url(nats, user), name="forger") as forger,
        asyncio.TaskGroup() as tasks,
    ):
        await eventually(lambda: all(bus.connected for bus in (one.parts.bus, gateway, forger)))
        run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
        one.parts.bus.publish(WorkQueued())
        await yard.recorded(run_id, "step.started", "second")
        place = place_of(ModelSettings(provider="hosted_vllm", model="m", api_base=yard.model.url))
        reader = Reader([])
        reading = tasks.create_task(reader.read(gateway, yard, run_id))
        truth = [entry.type for entry in await yard.entries(run_id)]
        await eventually(lambda: reader.types == truth)
        for _ in range(20):
            for message in forgeries(run_id, len(truth) + 1, place):
                forger.publish(message)
            await asyncio.sleep(0.02)
        await asyncio.sleep(FOOLED_S / 4)
        assert (await yard.runs.get(run_id)).status == "running"
        assert (reader.types, reader.has_ended) == (truth, False)
        free.set()
        run = await yard.ended(run_id, within_s=5 * FOOLED_S)
        assert (run.status, run.outputs) == ("succeeded", {"one": "first", "two": "second", "three": "third"})
        await asyncio.wait_for(reading, FOOLED_S)
        assert reader.types == [entry.type for entry in await yard.entries(run_id)]


@pytest.mark.parametrize("user", PERMISSIONS)
async def test_nobody_is_seen_alive_by_a_message(nats: NatsServer, database_url: str, user: str) -> None:
    async with (
        open_yard(database_url, url(nats, "executor")) as yard,
        executing(yard) as one,
        open_bus(url(nats, user), name="forger") as forger,
    ):
        agents = Agents(yard.database)
        await eventually(agents.page)
        await eventually(lambda: forger.connected and one.parts.bus.connected)
        client = forger._link.client
        assert client is not None
        for subject in ("register", "executor-2.heartbeat", "one.deregister"):
            await client.publish(f"flowyard.agents.{subject}", b'{"id": "executor-2", "slots": 1, "slots_used": 0}')
        await client.flush()
        assert [agent.id for agent in await agents.page()] == ["one"]
