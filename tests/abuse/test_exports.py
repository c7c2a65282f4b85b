"""Finished runs that are too large for whoever exports them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final
from uuid import UUID

import pytest

from abuse.conftest import Starting
from flowyard.storage.database import Database
from flowyard.storage.outputs import MOST
from support import queued, stories
from support.campaigns import Campaigns
from support.exporting import all_exported, ended, exporters, listening, otlp_target
from support.hands import Hands
from support.otlp import otlp_receiver
from support.stored import Stored, open_stored

OUTPUT = "o" * 8_000_000
POEM = stories.POEM.replace("MODEL", "{provider: scripted}")


_ENLARGE: Final = """
UPDATE events SET entries = json_build_array(json_build_array(0, 'step.finished', repeat('x', 70000000)))
WHERE run_id = $1
"""


@pytest.fixture
async def stored(database_url: str) -> AsyncIterator[Stored]:
    async with open_stored(database_url) as stored:
        yield stored


async def large_run(database: Database, hands: Hands) -> UUID:
    """A finished run whose steps wrote 40 MB, as a version before has stored them: in their events, too."""
    run_id = await queued.submit(database, "poem", inputs={"topic": "rain"})
    claim = await hands.take()
    for visit in range(1, 6):
        await hands.step(claim, "draft", {"draft": OUTPUT}, visit=visit)
    await hands.succeed(claim, {"draft": OUTPUT})
    return run_id


@pytest.mark.long
async def test_the_export_of_a_huge_run_takes_little_memory(
    database: Database, starting: Starting, hands: Hands, measured: Callable[[str], None], campaign: Campaigns
) -> None:
    await queued.apply(database, POEM)
    await listening(database, "otlp")
    run_id = await large_run(database, hands)
    async with otlp_receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        async with starting("registry", environ=variables) as registry:
            before = registry.memory_mb
            await all_exported(database, "otlp", within_s=40)
            grown = registry.most_memory_mb - before
    measured(f"export of a run with 40 MB of outputs: {grown} MB")
    assert receiver.trace_ids == {run_id.hex}
    with campaign("runs that are too large to export").attempt("40 MB"):
        assert grown < 70


async def test_a_run_that_kills_who_exports_it_is_dropped_and_told_and_the_others_go_on(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    exports = await listening(stored.database, "otlp")
    deadly, *others = [await ended(stored) for _ in range(3)]
    # Processes take it, and are killed.
    for begun in (1, 2, 3):
        first = (await exports.take("otlp", 1, lease_s=60))[0]
        assert (first.run_id, first.begun) == (deadly, begun)
        await expire(stored.database)
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target:
        async with exporters(stored.database, target) as metrics:
            await all_exported(stored.database, "otlp")
        assert receiver.trace_ids == {run_id.hex for run_id in others}
        assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="killed") == 1
    assert [r.levelname for r in caplog.records if getattr(r, "run_id", "") == str(deadly)] == ["ERROR", "WARNING"]


async def test_a_run_with_an_event_that_is_larger_than_any_may_be_is_dropped(
    stored: Stored, caplog: pytest.LogCaptureFixture, campaign: Campaigns
) -> None:
    """Earlier versions had no limit."""
    await listening(stored.database, "otlp")
    huge, other = [await ended(stored) for _ in range(2)]
    await stored.database.execute(_ENLARGE, huge)
    with campaign("runs that are too large to export").attempt("an event of 70 MB"):
        async with otlp_receiver() as receiver, otlp_target(receiver.url) as target:
            async with exporters(stored.database, target) as metrics:
                await all_exported(stored.database, "otlp")
            assert receiver.trace_ids == {other.hex}
            assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="too_large") == 1
        [why] = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert why == f"a run can't be read: an event of run {huge}: larger than the limit of {MOST} bytes"


async def test_a_run_that_was_begun_without_an_outcome_is_tried_alone(stored: Stored) -> None:
    exports = await listening(stored.database, "otlp")
    runs = {await ended(stored) for _ in range(3)}
    assert {waiting.run_id for waiting in await exports.take("otlp", 4, lease_s=60)} == runs
    await expire(stored.database)
    again = [await exports.take("otlp", 4, lease_s=60) for _ in range(4)]
    assert [len(waiting) for waiting in again] == [1, 1, 1, 0]


async def test_an_outcome_of_any_kind_ends_the_count(stored: Stored) -> None:
    exports = await listening(stored.database, "otlp")
    await ended(stored)
    for _ in range(5):
        [waiting] = await exports.take("otlp", 4, lease_s=60)
        assert waiting.begun == 1
        await exports.put_back("otlp", waiting, untouched=False)


async def expire(database: Database) -> None:
    """As if whoever took them was killed some time ago."""
    await database.execute("UPDATE exports SET taken_until = now() - interval '1 s'")
