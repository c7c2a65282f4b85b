from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from uuid import UUID

import pytest

from flowyard.errors.requests import UnknownRevision, UnknownWorkflow, WorkflowInUse
from flowyard.storage.claims import Claims
from flowyard.storage.database import Database
from flowyard.storage.moves import Moves
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.runs import Runs
from flowyard.storage.workflows import Revision, Workflows
from support.queued import new_run


@pytest.fixture
def workflows(database: Database) -> Workflows:
    return Workflows(database)


async def apply(
    workflows: Workflows, name: str = "triage", content: str = "a", *, concurrency: int | None = None, priority: int = 0
) -> tuple[Revision, bool]:
    return await workflows.apply(
        name, digest=f"{name} {content}", document=f"# {content}", concurrency=concurrency, priority=priority
    )


async def submit(database: Database, revision: Revision) -> UUID:
    return (await Runs(database).add(new_run(revision)))[0]


async def status(database: Database, run_id: UUID) -> str:
    return (await Runs(database).get(run_id)).status


async def test_the_first_document_makes_revision_1(workflows: Workflows) -> None:
    revision, is_new = await apply(workflows)
    assert (revision.number, revision.document, revision.restores, is_new) == (1, "# a", None, True)
    assert await workflows.current("triage") == revision
    assert await workflows.document(revision.definition) == "# a"


async def test_the_same_content_again_makes_no_revision(workflows: Workflows) -> None:
    first, _ = await apply(workflows)
    assert await apply(workflows) == (first, False)


async def test_a_content_that_was_current_before_makes_a_revision_of_the_same_definition(workflows: Workflows) -> None:
    first, _ = await apply(workflows, content="a")
    await apply(workflows, content="b")
    again, is_new = await apply(workflows, content="a")
    assert (again.number, again.definition, is_new) == (3, first.definition, True)


async def test_the_head_of_a_workflow_has_no_document_to_carry(workflows: Workflows) -> None:
    revision, _ = await apply(workflows)
    head = await workflows.head("triage")
    assert (head.number, head.definition, head.digest) == (1, revision.definition, revision.digest)
    assert not hasattr(head, "document")


async def test_who_applies_at_the_same_time_makes_no_number_twice_and_loses_nothing(workflows: Workflows) -> None:
    contents = [f"{i % 4}" for i in range(24)]
    applied = await asyncio.gather(*(apply(workflows, content=content) for content in contents))
    made = sorted(revision.number for revision, is_new in applied if is_new)
    assert made == list(range(1, len(made) + 1))
    kept = await workflows.revisions("triage", limit=100)
    assert [head.number for head in kept] == made[::-1]
    assert all(older.digest != newer.digest for newer, older in pairwise(kept))
    assert {head.digest for head in kept} == {f"triage {content}" for content in contents}


async def test_a_workflow_in_the_list_has_the_limits_of_its_current_revision(workflows: Workflows) -> None:
    await apply(workflows, content="a", concurrency=5, priority=7)
    await apply(workflows, content="b", concurrency=None, priority=-1)
    (listed,) = await workflows.page()
    assert (listed.name, listed.revision, listed.concurrency, listed.priority) == ("triage", 2, None, -1)
    assert (await workflows.get("triage"))[0] == listed


async def test_the_error_for_an_unknown_workflow_has_the_nearest_name(workflows: Workflows) -> None:
    await apply(workflows, "triage")
    with pytest.raises(UnknownWorkflow, match=r"no workflow 'traige' \(did you mean 'triage'\?\)"):
        await workflows.head("traige")
    for call in (workflows.current, workflows.get, workflows.revisions, workflows.delete):
        with pytest.raises(UnknownWorkflow):
            await call("zzz")
    with pytest.raises(UnknownWorkflow):
        await workflows.roll_back("zzz", 1, concurrency=None, priority=0)


async def test_lists_come_in_pages(workflows: Workflows) -> None:
    for name in ("b", "a", "Bee", "c"):
        await apply(workflows, name)
    assert [w.name for w in await workflows.page(limit=2)] == ["Bee", "a"]
    assert [w.name for w in await workflows.page(after="a")] == ["b", "c"]
    assert [w.name for w in await workflows.page(search="b")] == ["Bee", "b"]
    assert [w.name for w in await workflows.page(search="%")] == []
    for content in "bcd":
        await apply(workflows, "a", content)
    assert [r.number for r in await workflows.revisions("a", limit=2)] == [4, 3]
    assert [r.number for r in await workflows.revisions("a", before=3)] == [2, 1]
    assert await workflows.revisions("a", before=1) == []


async def test_what_changed_last_comes_first(workflows: Workflows) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "1"), ("a", "2")):
        await apply(workflows, name, content)
    assert [(w.name, w.revision) for w in await workflows.recent(2)] == [("a", 2), ("c", 1)]


async def test_a_rollback_is_a_new_revision_with_the_old_document(workflows: Workflows) -> None:
    first, _ = await apply(workflows, content="a", concurrency=5)
    await apply(workflows, content="b")
    restored, is_new = await workflows.roll_back("triage", 1, concurrency=5, priority=0)
    assert (restored.number, restored.restores, is_new) == (3, 1, True)
    assert (restored.definition, restored.document) == (first.definition, first.document)
    listed, current = await workflows.get("triage")
    assert (listed.concurrency, current) == (5, restored)


async def test_a_rollback_to_what_is_current_changes_nothing(workflows: Workflows) -> None:
    first, _ = await apply(workflows)
    assert await workflows.roll_back("triage", 1, concurrency=None, priority=0) == (first, False)


async def test_the_error_for_an_unknown_revision_has_the_newest_number(workflows: Workflows) -> None:
    await apply(workflows)
    with pytest.raises(UnknownRevision, match=r"triage/7.*the newest is 1"):
        await workflows.revision("triage", 7)
    with pytest.raises(UnknownRevision):
        await workflows.roll_back("triage", 7, concurrency=None, priority=0)


async def test_a_deleted_workflow_is_gone_and_its_runs_keep_their_document(
    database: Database, workflows: Workflows
) -> None:
    revision, _ = await apply(workflows)
    run_id = await submit(database, revision)
    await Moves(database).cancel(run_id)
    assert await workflows.delete("triage") == []
    with pytest.raises(UnknownWorkflow):
        await workflows.current("triage")
    assert await Runs(database).document_of(run_id) == "# a"


async def test_a_workflow_with_open_runs_stays(database: Database, workflows: Workflows) -> None:
    revision, _ = await apply(workflows)
    run_id = await submit(database, revision)
    with pytest.raises(WorkflowInUse, match="1 open run"):
        await workflows.delete("triage")
    assert await workflows.current("triage") == revision
    assert await status(database, run_id) == "queued"


async def test_a_forced_deletion_cancels_queued_runs_and_requests_a_cancel_of_the_others(
    database: Database, workflows: Workflows
) -> None:
    revision, _ = await apply(workflows)
    running = await submit(database, revision)
    await Claims(database, lease_s=60).take("executor-1", 1)
    queued = await submit(database, revision)
    moved = {one.run_id: one for one in await workflows.delete("triage", force=True)}
    assert moved[queued].status == await status(database, queued) == "cancelled"
    assert (moved[running].status, moved[running].entry) == ("running", None)
    assert (await Runs(database).get(running)).cancel_requested


async def test_a_deletion_leaves_the_runs_of_others_alone(database: Database, workflows: Workflows) -> None:
    other = await submit(database, (await apply(workflows, "other"))[0])
    await apply(workflows)
    await workflows.delete("triage", force=True)
    assert await workflows.cancel_abandoned() == []
    assert await status(database, other) == "queued"


async def test_a_run_that_comes_back_after_the_deletion_is_cancelled_and_not_stuck(
    database: Database, workflows: Workflows
) -> None:
    revision, _ = await apply(workflows)
    run_id = await submit(database, revision)
    await database.execute("UPDATE runs SET status = 'failed', finished_at = now() WHERE id = $1", run_id)
    await workflows.delete("triage")
    # As by a retry that looked for the workflow just before it was deleted.
    await database.execute("UPDATE runs SET status = 'queued', finished_at = NULL WHERE id = $1", run_id)
    (moved,) = await workflows.cancel_abandoned()
    assert (moved.run_id, moved.status) == (run_id, "cancelled")
    assert await workflows.cancel_abandoned() == []
    assert await QueueMeasures(database).orphaned() == 0


async def test_submits_that_race_with_a_deletion_are_refused_or_cancelled(
    database: Database, workflows: Workflows
) -> None:
    revision, _ = await apply(workflows)

    async def try_to_submit() -> UUID | None:
        try:
            return await submit(database, revision)
        except UnknownWorkflow:
            return None

    first = [try_to_submit() for _ in range(10)]
    taken = await asyncio.gather(*first, workflows.delete("triage", force=True), *(try_to_submit() for _ in range(10)))
    await workflows.cancel_abandoned()
    for run_id in taken:
        if isinstance(run_id, UUID):
            assert await status(database, run_id) == "cancelled"
    assert await QueueMeasures(database).orphaned() == 0


async def test_a_deleted_workflow_may_be_applied_again(workflows: Workflows) -> None:
    await apply(workflows, content="a")
    await apply(workflows, content="b")
    await workflows.delete("triage")
    revision, is_new = await apply(workflows, content="a")
    assert (revision.number, is_new) == (1, True)


async def test_applying_while_others_delete_ends_in_one_or_the_other(workflows: Workflows) -> None:
    async def delete() -> None:
        with suppress(UnknownWorkflow):
            await workflows.delete("triage")

    for _ in range(5):
        await asyncio.gather(*(apply(workflows, content=f"{i}") for i in range(4)), delete(), delete())
        await apply(workflows, content="last")
        assert (await workflows.current("triage")).document == "# last"
