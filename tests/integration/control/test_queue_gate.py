"""The gate before the queue: it counts seldom, and refuses no run for which there is room."""

from __future__ import annotations

import pytest

from flowyard.bus.connection import Bus
from flowyard.control.parts import QueueGate
from flowyard.errors.requests import QueueFull
from flowyard.storage.database import Database
from flowyard.storage.queue import QueueMeasures
from support.hands import working_hands
from support.queued import apply, submit

POEM = (
    "flow: {name: poem}\nstate: {fields: {topic: str, poem: str}}\n"
    "nodes: [{id: write, prompt: Write., outputs: [poem]}]\nconfig: {llm: {provider: scripted}}"
)
NEVER_S = 3600.0


@pytest.fixture
async def workflow(database: Database) -> None:
    await apply(database, POEM)


async def add(gate: QueueGate, database: Database) -> None:
    async with gate.room():
        await submit(database, "poem")


@pytest.mark.usefixtures("workflow")
async def test_runs_that_have_begun_since_the_last_count_take_no_room(database: Database, bus: Bus) -> None:
    gate = QueueGate(QueueMeasures(database), limit=2, seconds=NEVER_S, seconds_if_full=0)
    async with working_hands(database, bus) as hands:
        await fill(gate, database, 2)
        await hands.take()
        await fill(gate, database, 1)


async def fill(gate: QueueGate, database: Database, number: int) -> None:
    for _ in range(number):
        await add(gate, database)
    with pytest.raises(QueueFull):
        await add(gate, database)


@pytest.mark.usefixtures("workflow")
async def test_runs_that_are_being_stored_take_room(database: Database) -> None:
    gate = QueueGate(QueueMeasures(database), limit=2, seconds=NEVER_S, seconds_if_full=0)
    async with gate.room(), gate.room():
        with pytest.raises(QueueFull):
            await add(gate, database)
