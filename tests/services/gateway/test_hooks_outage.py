"""What was answered with a 2xx is stored, whatever happens to Postgres meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from flowyard.storage.database import open_database
from flowyard.storage.schema import migrate
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from flowyard_gateway.main import run_gateway
from flowyard_gateway.settings import GatewaySettings
from services.conftest import serving
from support.hook_senders import HEAD
from support.queued import apply
from support.servers import FORGETFUL
from support.waiting import eventually

OPEN: Final = HEAD + "  open:\n    webhook: {path: open, auth: none}\n    inputs: {topic: '{payload.n}'}\n"
SETTINGS: Final = {**FORGETFUL, "synchronous_commit": "on"}


@pytest.fixture
async def own_postgres(server_home: Path) -> AsyncIterator[PostgresServer]:
    server = await asyncio.to_thread(start_postgres, server_home / "postgres", settings=SETTINGS)
    await migrate(server.url.get_secret_value())
    yield server
    await asyncio.to_thread(server.process.stop)


async def test_a_webhook_is_stored_or_503_while_postgres_restarts_and_never_lost_after_a_2xx(
    own_postgres: PostgresServer, server_home: Path, nats_url: str
) -> None:
    url = own_postgres.url.get_secret_value()
    settings = GatewaySettings.model_validate({"database_url": url, "nats_url": nats_url, "port": 0})
    answers: dict[int, httpx.Response] = {}
    async with open_database(url, service="test") as database:
        await apply(database, OPEN)
        async with serving(partial(run_gateway, settings), database, scope="run") as gateway:
            stop = asyncio.Event()

            async def send(first: int) -> None:
                number = first
                while not stop.is_set():
                    answers[number] = await gateway.client.post("/hooks/open", json={"n": number})
                    number += 8

            async with asyncio.TaskGroup() as senders:
                for first in range(8):
                    senders.create_task(send(first))
                await asyncio.sleep(0.5)
                own_postgres.process.child.kill()
                await asyncio.to_thread(own_postgres.process.stop)
                await asyncio.sleep(0.5)
                again = await asyncio.to_thread(
                    start_postgres, server_home / "postgres", port=own_postgres.port, settings=SETTINGS
                )
                before = sum(answer.status_code == 202 for answer in answers.values())
                await eventually(lambda: sum(answer.status_code == 202 for answer in answers.values()) > before + 50)
                stop.set()
            rows = await database.rows("SELECT inputs FROM runs")
            stored = [row["inputs"]["topic"] for row in rows]
            await asyncio.to_thread(again.process.stop)
    assert {answer.status_code for answer in answers.values()} == {202, 503}
    refused = [answer for answer in answers.values() if answer.status_code == 503]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    accepted = {number for number, answer in answers.items() if answer.status_code == 202}
    assert accepted <= set(stored)
    assert len(stored) == len(set(stored))
