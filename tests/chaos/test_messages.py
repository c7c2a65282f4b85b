"""Messages that start runs, while registries, Postgres and NATS die: none is acknowledged without its run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import nats
import pytest
from nats.errors import Error

from flowyard.bus.subjects import PERMISSIONS, SENDER, SENDER_PERMISSIONS, inbox
from flowyard.storage.database import Database, open_database
from flowyard.storage.schema import migrate
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.servers.nats_config import Subjects
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from support.cli import clean_environment
from support.executors import ExecutorProcess
from support.forks import Order, start
from support.queued import apply
from support.waiting import eventually

# Processes start and die.
pytestmark = pytest.mark.timeout(240)

USERS = {"registry": Subjects(*PERMISSIONS["registry"]), SENDER: Subjects(*SENDER_PERMISSIONS)}
MESSAGES = 240
SUBJECT = "flowyard.triggers.orders"
DOCUMENT = f"""
flow: {{name: orders}}
state: {{fields: {{topic: {{type: int, required: true}}, poem: str}}}}
nodes:
  - {{id: write, prompt: "On {{topic}}", outputs: [poem]}}
triggers:
  placed: {{nats: {{subject: {SUBJECT}}}, inputs: {{topic: "{{payload.n}}"}}}}
"""


@dataclass
class Stack:
    home: Path
    postgres: PostgresServer
    nats: NatsServer
    database: Database
    registries: list[ExecutorProcess] = field(default_factory=list)
    listeners: list[asyncio.Task[None]] = field(default_factory=list)

    async def add_registry(self) -> ExecutorProcess:
        """With the permissions that it has in a stack, and no others."""
        settings = {
            "FLOWYARD_DATABASE_URL": self.postgres.url.get_secret_value(),
            "FLOWYARD_NATS_URL": self.nats.url("registry").get_secret_value(),
            "FLOWYARD_PORT": "0",
        }
        process = await start("registry", Order([], clean_environment() | settings, str(Path.cwd())), merged=True)
        registry = ExecutorProcess(f"registry-{len(self.registries)}", process)
        self.registries.append(registry)
        self.listeners.append(asyncio.create_task(registry.listen()))
        await registry.logged("listening", within_s=40)
        return registry

    def restart_postgres(self) -> None:
        self.postgres.process.kill()
        self.postgres = start_postgres(self.home / "postgres", port=self.postgres.port)

    def restart_nats(self, *, without_data: bool = False) -> None:
        self.nats.process.kill()
        if without_data:
            shutil.rmtree(self.nats.store)
        self.nats = start_nats(self.home / "nats", users=USERS, port=self.nats.port)

    async def send(self, number: int) -> None:
        """Until the stream has it."""
        while True:
            try:
                client = await nats.connect(
                    self.nats.url(SENDER).get_secret_value(),
                    inbox_prefix=inbox(SENDER),
                    allow_reconnect=False,
                    connect_timeout=2,
                )
                try:
                    stream = client.jetstream(timeout=2)
                    await stream.publish(SUBJECT, f'{{"n": {number}}}'.encode(), headers={"Nats-Msg-Id": f"m{number}"})
                    return
                finally:
                    await client.close()
            except (Error, OSError, TimeoutError):
                await asyncio.sleep(0.1)

    async def numbers(self) -> list[int]:
        """Of the messages that have started runs."""
        rows = await self.database.rows("SELECT (inputs ->> 'topic')::int AS n FROM runs ORDER BY 1")
        return [row["n"] for row in rows]

    async def count(self) -> int:
        return int(await self.database.value("SELECT count(*) FROM runs"))


@pytest.fixture
async def stack(server_home: Path) -> AsyncIterator[Stack]:
    postgres = start_postgres(server_home / "postgres")
    nats = start_nats(server_home / "nats", users=USERS)
    url = postgres.url.get_secret_value()
    await migrate(url)
    async with open_database(url, service="test") as database:
        stack = Stack(server_home, postgres, nats, database)
        try:
            yield stack
        finally:
            for registry in stack.registries:
                await registry.kill()
            await asyncio.gather(*stack.listeners)
        stack.nats.process.stop()
        stack.postgres.process.stop()


async def test_each_message_that_the_stream_has_taken_starts_one_run_whatever_dies(stack: Stack) -> None:
    await apply(stack.database, DOCUMENT)
    registries = [await stack.add_registry() for _ in range(2)]

    async def send_all() -> None:
        for number in range(MESSAGES):
            await stack.send(number)

    sending = asyncio.create_task(send_all())

    async def has(count: int) -> None:
        async def there() -> bool:
            return await stack.count() >= count

        await eventually(there, 90)

    await has(20)
    registries[0].process.kill()
    await has(60)
    await asyncio.to_thread(stack.restart_postgres)
    await has(110)
    await asyncio.to_thread(stack.restart_nats)
    await has(150)
    registries[1].process.kill()
    await asyncio.to_thread(stack.restart_nats)
    await stack.add_registry()
    await asyncio.to_thread(stack.restart_postgres)
    await sending
    await has(MESSAGES)
    assert await stack.numbers() == list(range(MESSAGES))
    found = {row["outcome"] for row in await stack.database.rows("SELECT DISTINCT outcome FROM deliveries")}
    assert found <= {"started", "repeated"}


async def test_a_trigger_receives_again_after_nats_has_lost_all_data(stack: Stack) -> None:
    await apply(stack.database, DOCUMENT)
    await stack.add_registry()
    for number in range(3):
        await stack.send(number)

    async def all_three() -> bool:
        return await stack.numbers() == [0, 1, 2]

    await eventually(all_three)
    await asyncio.to_thread(stack.restart_nats, without_data=True)
    # One that was received before is known, though the stream isn't.
    for number in (2, 3, 4):
        await stack.send(number)

    async def all_five() -> bool:
        return await stack.numbers() == [0, 1, 2, 3, 4]

    await eventually(all_five)
    assert await stack.database.value("SELECT count(*) FROM deliveries WHERE outcome = 'repeated'") == 1
