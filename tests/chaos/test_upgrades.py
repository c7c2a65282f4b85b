"""A new version finds the runs of an older one."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from flowyard.storage.schema import VERSION, Migrated, migrate
from support.executors import open_yard
from support.servers import Postgres, create_database, drop_database, execute
from support.upgrade import DUMP, EXPECTED_PROMPTS, OUTPUTS, counted_prompts, reply
from support.wire.ollama import ollama_server

# Processes start, die, and leave leases that have to end.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def old_database_url(postgres: Postgres) -> Iterator[str]:
    name = create_database(postgres)
    yield postgres.url_of(name).get_secret_value()
    drop_database(postgres, name)


async def test_runs_that_waited_when_the_version_changed_are_finished_without_a_repeated_call(
    old_database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(old_database_url, DUMP.read_text())
    assert await migrate(old_database_url) == Migrated("0001", VERSION)
    async with ollama_server(reply) as model:
        monkeypatch.setenv("OLLAMA_API_BASE", model.url)
        async with open_yard(old_database_url, nats_url) as yard:
            await yard.executor("new")
            runs = {run_id: await yard.ended(UUID(run_id), within_s=30) for run_id in OUTPUTS}
            assert await yard.queue.orphaned() == 0
    assert {run_id: (run.status, run.outputs) for run_id, run in runs.items()} == {
        run_id: ("succeeded", outputs) for run_id, outputs in OUTPUTS.items()
    }
    assert counted_prompts(model) == EXPECTED_PROMPTS
