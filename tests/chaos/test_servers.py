"""Postgres and NATS that die under running runs."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowyard.storage.budgets import DailySpending
from flowyard.storage.schema import migrate
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from support.executors import Yard, open_yard, prompt_of
from support.servers import EVERYTHING
from support.stories import CHAIN
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Held, Late, Text
from support.wire.server import Request

# Processes start, die, and leave leases that have to end.
pytestmark = pytest.mark.timeout(180)

RUNS = 6
CALL_S = 0.25


@dataclass
class Servers:
    home: Path
    postgres: PostgresServer
    nats: NatsServer
    yard: Yard
    free: asyncio.Event
    """Calls that come while it isn't set are answered once it is."""

    def restart_postgres(self) -> None:
        self.postgres = start_postgres(self.home / "postgres", port=self.postgres.port)

    def restart_nats(self) -> None:
        self.nats = start_nats(self.home / "nats", users={"all": EVERYTHING}, port=self.nats.port)


@pytest.fixture
async def servers(server_home: Path) -> AsyncIterator[Servers]:
    postgres = start_postgres(server_home / "postgres")
    nats = start_nats(server_home / "nats", users={"all": EVERYTHING})
    url = postgres.url.get_secret_value()
    await migrate(url)
    free = asyncio.Event()
    free.set()

    def answer(request: Request) -> Behaviour:
        text = Text(prompt_of(request).split()[0])
        return Late(text, CALL_S) if free.is_set() else Held(text, free)

    try:
        async with open_yard(url, nats.url("all").get_secret_value(), answer) as yard:
            opened = Servers(server_home, postgres, nats, yard, free)
            try:
                yield opened
            finally:
                postgres, nats = opened.postgres, opened.nats
                await yard.close()
    finally:
        nats.process.stop()
        postgres.process.stop()


async def test_postgres_killed_under_running_runs_costs_nothing_but_a_moment(servers: Servers) -> None:
    yard = servers.yard
    name = await yard.apply(CHAIN)
    runs = [await yard.submit(name, topic=f"t{n}") for n in range(RUNS)]
    executor = await yard.executor("only", lease_s="10")
    await eventually(lambda: sum(count for prompt, count in yard.prompts.items() if "Second" in prompt) >= 2)
    servers.postgres.process.kill()
    servers.restart_postgres()
    ended = [await yard.ended(run_id, within_s=20) for run_id in runs]
    assert [run.status for run in ended] == ["succeeded"] * RUNS
    # Each step made its call once: its result waited for Postgres.
    assert set(yard.prompts.values()) == {1}
    assert executor.process.returncode is None
    assert await yard.queue.orphaned() == 0


async def test_a_call_that_ends_while_postgres_is_away_is_taken_off_the_day_when_it_is_back(servers: Servers) -> None:
    yard = servers.yard
    name = await yard.apply(CHAIN)
    servers.free.clear()
    await yard.executor("only", lease_s="10", daily_budgets=json.dumps({"*": {"tokens": 1_000_000}}))
    runs = [await yard.submit(name, topic=f"t{n}") for n in range(RUNS)]
    await eventually(lambda: len(yard.model.requests) == RUNS)
    servers.postgres.process.kill()
    servers.free.set()
    await asyncio.sleep(2 * CALL_S)  # all calls end while Postgres is away
    servers.restart_postgres()
    ended = [await yard.ended(run_id, within_s=20) for run_id in runs]
    assert [run.status for run in ended] == ["succeeded"] * RUNS
    days = DailySpending(yard.database, executor="one")
    came_to = sum((run.spending.tokens_in or 0) + (run.spending.tokens_out or 0) for run in ended)

    async def settled() -> bool:
        return (await days.today("chain")).tokens == came_to

    await eventually(settled)
    assert came_to > 0


async def test_runs_go_on_while_nats_is_dead_and_its_whole_store_is_deleted(servers: Servers) -> None:
    yard = servers.yard
    name = await yard.apply(CHAIN)
    await yard.executor("only")
    before = [await yard.submit(name, topic=f"t{n}") for n in range(RUNS)]
    await eventually(lambda: len(yard.prompts) >= 2)
    servers.nats.process.kill()
    shutil.rmtree(servers.nats.store)
    # Nobody rings now: the run is found by looking for it.
    meanwhile = await yard.submit(name, topic="meanwhile")
    ended = [await yard.ended(run_id) for run_id in (*before, meanwhile)]
    servers.restart_nats()
    after = await yard.ended(await yard.submit(name, topic="after"))
    assert [run.status for run in (*ended, after)] == ["succeeded"] * (RUNS + 2)
    assert set(yard.prompts.values()) == {1}


async def test_an_executor_killed_after_an_unannounced_commit_loses_no_event(servers: Servers) -> None:
    """Between the commit and its announcement: NATS is dead when the step is committed, then the executor is too."""
    yard = servers.yard
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    first = await yard.executor("first")
    await eventually(lambda: yard.prompts["First rain."] == 1)
    servers.nats.process.kill()
    await yard.steps_done(run_id, 1)
    await first.kill()
    servers.restart_nats()
    await yard.executor("second")
    run = await yard.ended(run_id)
    finished_steps = [(e.type, e.data.get("node")) for e in await yard.entries(run_id) if e.type == "step.finished"]
    assert finished_steps == [("step.finished", "first"), ("step.finished", "second"), ("step.finished", "third")]
    assert (run.status, yard.prompts["First rain."]) == ("succeeded", 1)
