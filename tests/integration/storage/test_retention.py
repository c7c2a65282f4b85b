from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from flowyard.errors.requests import UnknownRun
from flowyard.runs.claim import Claim
from support.attempts import open_attempts
from support.rows import full_commit
from support.stored import Stored
from support.workflows import document

DAY_S = 86_400
GROWS = ("runs", "claims", "events", "steps", "step_parts")


async def full(stored: Stored) -> Claim:
    """A run with rows in every table."""
    claim = await stored.claimed()
    await stored.committer.commit(full_commit(claim))
    return claim


async def ended(stored: Stored, *, days_ago: float) -> UUID:
    claim = await full(stored)
    await stored.finish(claim, seq=3)
    await stored.database.execute(
        "UPDATE runs SET created_at = created_at - make_interval(secs => $2),"
        " finished_at = finished_at - make_interval(secs => $2) WHERE id = $1",
        claim.run_id,
        days_ago * DAY_S,
    )
    return claim.run_id


async def grown(stored: Stored) -> dict[str, int]:
    counts = await stored.counts()
    return {table: counts[table] for table in GROWS}


async def test_old_runs_go_with_all_that_belongs_to_them_and_younger_and_open_ones_stay(stored: Stored) -> None:
    young = await ended(stored, days_ago=29)
    working = await full(stored)
    await stored.database.execute("UPDATE runs SET created_at = created_at - interval '90 days'")
    before = await grown(stored)
    old = [await ended(stored, days_ago=31) for _ in range(3)]
    deleted = await stored.retention.delete_runs(older_than_s=30 * DAY_S)
    none = {"exports": 0, "run_ends": 0, "notifications": 0}
    assert deleted == {"runs": 3, "events": 6, "steps": 3, "model_calls": 3, **none}
    assert await grown(stored) == before
    for run_id in old:
        with pytest.raises(UnknownRun):
            await stored.runs.get(run_id)
    assert (await stored.runs.get(young)).status == "succeeded"
    assert (await stored.runs.get(working.run_id)).status == "running"
    assert await stored.retention.delete_runs(older_than_s=30 * DAY_S) == dict.fromkeys(deleted, 0)


async def test_a_run_that_began_long_ago_is_kept_from_its_end_on(stored: Stored) -> None:
    run_id = await ended(stored, days_ago=31)
    await stored.database.execute("UPDATE runs SET finished_at = now() - interval '1 day'")
    await stored.retention.delete_runs(older_than_s=30 * DAY_S)
    assert (await stored.runs.get(run_id)).status == "succeeded"


async def test_what_is_deleted_goes_in_batches_the_oldest_first(stored: Stored) -> None:
    runs = [await ended(stored, days_ago=31) for _ in range(5)]
    for left in (3, 1, 0):
        await stored.retention.delete_runs(older_than_s=30 * DAY_S, most=2)
        rows = await stored.database.rows("SELECT id FROM runs ORDER BY id")
        assert [row["id"] for row in rows] == runs[5 - left :]


async def test_many_may_delete_at_once(stored: Stored) -> None:
    for _ in range(8):
        await ended(stored, days_ago=31)
    deleted = await asyncio.gather(*(stored.retention.delete_runs(older_than_s=30 * DAY_S) for _ in range(4)))
    assert sum(each["runs"] for each in deleted) == 8
    assert await grown(stored) == dict.fromkeys(GROWS, 0)


async def test_documents_that_nobody_refers_to_go(stored: Stored) -> None:
    await stored.workflow("kept", document="current")
    await stored.workflow("gone", document="of a run")
    run_id = await stored.run("gone")
    await stored.workflow("lost", document="nobody's")
    await stored.workflows.delete("lost")
    await stored.workflows.delete("gone", force=True)
    assert await stored.retention.delete_definitions(older_than_s=3600) == 0
    assert await stored.retention.delete_definitions(older_than_s=0) == 1
    assert await stored.runs.document_of(run_id) == "of a run"
    await stored.retention.delete_runs(older_than_s=0)
    assert await stored.retention.delete_definitions(older_than_s=0) == 1
    rows = await stored.database.rows("SELECT document FROM definitions")
    assert [row["document"] for row in rows] == ["current"]


async def test_with_retention_no_table_grows_however_many_runs_there_are(stored: Stored) -> None:
    """Whole runs of a workflow that changes, with everything that they leave."""
    sizes = []
    async with open_attempts(stored) as attempts:
        for turn in range(6):
            for _ in range(3):
                await attempts.submit(document("a b", config=f"execution: {{priority: {turn}}}"))
                assert await attempts.executor().run() is not None
            await stored.retention.delete_runs(older_than_s=0)
            await stored.retention.delete_definitions(older_than_s=0)
            await stored.retention.delete_sessions()
            sizes.append(await stored.counts())
    # The catalogue keeps its revisions: they are made by hand.
    for size in sizes:
        assert {table: size[table] for table in GROWS} == dict.fromkeys(GROWS, 0)
        assert {table: n for table, n in size.items() if table not in ("revisions", "definitions")} == {
            table: n for table, n in sizes[0].items() if table not in ("revisions", "definitions")
        }
    assert [size["definitions"] for size in sizes] == [size["revisions"] for size in sizes] == [1, 2, 3, 4, 5, 6]
