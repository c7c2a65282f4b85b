"""Submitting by what was last known of a workflow: it costs one statement, and never uses what isn't current."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunFollowed, WorkQueued
from flowyard.control.parts import Control, make_control
from flowyard.control.submit import IdempotencyKey, Submission, new_run_id, submit_run
from flowyard.errors.requests import InvalidInputs, UnknownWorkflow
from flowyard.storage.database import Database
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from support.queued import apply
from support.statements import Watched
from support.waiting import eventually

RAIN = {"topic": "rain"}


def poem(*fields: str, prompt: str = "Write.") -> str:
    required = ", ".join(f"{name}: {{type: str, required: true}}" for name in fields)
    nodes = f"nodes: [{{id: write, prompt: {prompt}, outputs: [poem]}}]\nconfig: {{llm: {{provider: scripted}}}}"
    return f"flow: {{name: poem}}\nstate: {{fields: {{{required}, poem: str}}}}\n{nodes}"


@pytest.fixture
def watched(database: Database) -> Watched:
    return Watched(database)


@pytest.fixture
async def control(watched: Watched, bus: Bus) -> Control:
    """Of a process that has submitted a run of revision 1 and knows nothing of later ones."""
    await apply(watched, poem("topic"))
    control = make_control(watched, bus, Metrics(service="test", version="1", name="test"))
    await submit(control)
    watched.statements.clear()
    return control


async def submit(control: Control, inputs: dict[str, Any] = RAIN, *, key: str = "") -> tuple[UUID, bool]:
    idempotency = IdempotencyKey("owner", key, inputs) if key else None
    submission = Submission(workflow="poem", inputs=inputs, idempotency=idempotency)
    return await submit_run(control, submission, run_id=new_run_id())


async def revision_of(control: Control, run_id: UUID) -> tuple[int, str]:
    return (await control.runs.get(run_id)).revision, await control.runs.document_of(run_id)


async def test_runs_that_are_submitted_in_the_same_moment_cost_a_statement_and_a_message(
    control: Control, watched: Watched, bus: Bus
) -> None:
    rung: list[WorkQueued] = []

    async def receive(message: WorkQueued) -> None:
        rung.append(message)

    async with bus.subscribe(subjects.RUNS_QUEUED, WorkQueued, receive):
        added = await asyncio.gather(*(submit(control, {"topic": f"{n}"}) for n in range(20)))
        await eventually(lambda: rung)
    assert len(rung) == 1
    assert len(watched.statements) == 1
    runs = await asyncio.gather(*(control.runs.get(run_id) for run_id, _ in added))
    assert len(watched.statements) == 2
    assert [run.inputs["topic"] for run in runs] == [f"{n}" for n in range(20)]
    assert {(run.status, run.last_seq, run.revision) for run in runs} == {("queued", 1, 1)}


async def test_a_run_is_one_of_the_revision_that_was_current_when_it_was_submitted(control: Control) -> None:
    for number in (2, 3):
        await apply(control.runs._database, poem("topic", prompt=f"Write {number}."))
        for _ in range(2):
            run_id, _ = await submit(control)
            revision, document = await revision_of(control, run_id)
            assert (revision, f"Write {number}." in document) == (number, True)


async def test_inputs_that_only_the_new_revision_takes_are_taken(control: Control) -> None:
    await apply(control.runs._database, poem("topic", "tone"))
    run_id, _ = await submit(control, {"topic": "rain", "tone": "soft"})
    assert (await revision_of(control, run_id))[0] == 2


async def test_inputs_that_the_new_revision_refuses_are_refused(control: Control) -> None:
    await apply(control.runs._database, poem("tone"))
    with pytest.raises(InvalidInputs, match="tone"):
        await submit(control)


async def test_a_workflow_that_was_made_anew_has_another_first_revision(control: Control) -> None:
    workflows = Workflows(control.runs._database)
    await workflows.delete("poem", force=True)
    with pytest.raises(UnknownWorkflow):
        await submit(control)
    await apply(control.runs._database, poem("topic"))
    await submit(control)
    await workflows.delete("poem", force=True)
    await apply(control.runs._database, poem("topic", prompt="Anew."))
    run_id, _ = await submit(control)
    revision, document = await revision_of(control, run_id)
    assert (revision, "Anew." in document) == (1, True)


async def test_a_document_that_is_current_again_is_another_revision(control: Control) -> None:
    await apply(control.runs._database, poem("topic", prompt="Differently."))
    await apply(control.runs._database, poem("topic"))
    run_id, _ = await submit(control)
    assert (await revision_of(control, run_id))[0] == 3


async def test_executors_know_of_a_follower_before_they_can_claim_its_run(
    control: Control, database: Database, bus: Bus
) -> None:
    followed: list[RunFollowed] = []

    async def receive(message: RunFollowed) -> None:
        followed.append(message)

    run_id, submission = new_run_id(), Submission(workflow="poem", inputs=RAIN, stream=True)
    async with bus.subscribe(subjects.ANY_RUN_FOLLOWED, RunFollowed, receive):
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
            submitting = asyncio.create_task(submit_run(control, submission, run_id=run_id))
            await eventually(lambda: followed)
        await submitting
    assert [message.run_id for message in followed] == [run_id]
