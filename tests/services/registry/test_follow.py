from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from flowyard.runs.deliveries import Delivery
from flowyard.storage.database import Database
from flowyard.storage.deliveries import Deliveries, DeliveryFilter
from flowyard.storage.triggers import Triggers
from services.registry.conftest import Registry, Starting
from support.queued import apply, submit
from support.waiting import eventually

FIRST = """
flow: {name: first}
state: {fields: {topic: {type: str, default: rain}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
"""
SECOND = """
flow: {name: second}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
triggers:
  after:
    workflow: {name: first, status: [succeeded, failed]}
    when: payload.status == 'failed' or payload.outputs.poem != 'dull'
    inputs: {topic: "{payload.inputs.topic}: {payload.outputs}"}
"""


async def end(
    database: Database, run_id: UUID, status: str = "succeeded", outputs: str | None = '{"poem": "drops"}'
) -> None:
    """Ends a run as a commit does, in one statement."""
    await database.execute(
        "UPDATE runs SET status = $2, finished_at = now(), last_seq = last_seq + 1, outputs = $3::text::json,"
        """ error = CASE WHEN $2 = 'failed' THEN '{"code": "timeout", "message": "too late"}'::json END"""
        " WHERE id = $1",
        run_id, status, outputs,
    )  # fmt: skip


async def deliveries(database: Database, **wanted: Any) -> list[Delivery]:
    return await Deliveries(database).page(DeliveryFilter(**wanted), 100)


async def handled(database: Database) -> None:
    async def nothing_waits() -> bool:
        return bool(await database.value("SELECT count(*) = 0 FROM run_ends"))

    await eventually(nothing_waits)


async def started(database: Database, workflow: str) -> list[dict[str, Any]]:
    rows = await database.rows("SELECT id, inputs, depth FROM runs WHERE workflow = $1 ORDER BY id", workflow)
    return [dict(row) for row in rows]


async def test_the_end_of_a_run_starts_a_run_of_the_workflow_that_follows(
    database: Database, registry: Registry
) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    run_id = await submit(database, "first", inputs={"topic": "snow"})
    await end(database, run_id)
    await handled(database)
    [run] = await started(database, "second")
    assert run["inputs"] == {"topic": 'snow: {"poem": "drops"}'}
    assert run["depth"] == 1
    [delivery] = await deliveries(database)
    assert (delivery.outcome, delivery.run_id, delivery.sender_id) == ("started", run["id"], str(run_id))
    whole = await Deliveries(database).get(delivery.id)
    assert whole.payload["run_id"] == str(run_id)
    assert (whole.payload["workflow"], whole.payload["status"], whole.payload["error"]) == ("first", "succeeded", None)


@pytest.mark.parametrize(
    ("status", "outputs", "outcome"),
    [
        ("failed", None, "started"),
        ("succeeded", '{"poem": "dull"}', "unmatched"),
        ("succeeded", "{}", "failed"),
        ("cancelled", "{}", None),
    ],
)
async def test_only_ends_that_match_start_a_run(
    database: Database, registry: Registry, status: str, outputs: str | None, outcome: str | None
) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    await end(database, await submit(database, "first", inputs={"topic": "snow"}), status, outputs)
    await handled(database)
    assert [each.outcome for each in await deliveries(database)] == ([outcome] if outcome else [])
    assert len(await started(database, "second")) == (outcome == "started")
    if outcome == "failed":
        [delivery] = await deliveries(database)
        assert delivery.reason is not None
        assert "has no 'poem'" in delivery.reason


async def test_ends_of_a_time_without_registries_start_each_a_run_and_one_with_three_of_them(
    database: Database, starting: Starting
) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    for number in range(40):
        await end(database, await submit(database, "first", inputs={"topic": f"n{number}"}))
    async with AsyncExitStack() as opened:
        for _ in range(3):
            await opened.enter_async_context(starting())
        await handled(database)
    runs = await started(database, "second")
    assert sorted(run["inputs"]["topic"].split(":")[0] for run in runs) == sorted(f"n{n}" for n in range(40))
    assert [each.outcome for each in await deliveries(database)] == ["started"] * 40


async def test_an_end_that_was_taken_by_a_process_that_died_starts_one_run(
    database: Database, starting: Starting
) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    ended = await submit(database, "first", inputs={"topic": "snow"})
    await end(database, ended)
    # It was killed after it had started the run, before it could delete the row.
    [row] = [dict(row) for row in await database.rows("SELECT * FROM run_ends")]
    async with starting():
        await handled(database)
    again = "INSERT INTO run_ends (run_id, seq, takes, ended_at, taken_until, workflow, trigger, status)"
    await database.execute(
        f"{again} VALUES ($1, $2, 1, now(), now() - interval '1 s', $3, $4, $5)",
        row["run_id"], row["seq"], row["workflow"], row["trigger"], row["status"],
    )  # fmt: skip
    async with starting():
        await handled(database)
    assert len(await started(database, "second")) == 1
    assert [each.outcome for each in await deliveries(database)] == ["repeated", "started"]


async def test_a_run_that_is_retried_and_ends_again_starts_another_run(database: Database, registry: Registry) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    run_id = await submit(database, "first", inputs={"topic": "snow"})
    await end(database, run_id, "failed")
    await handled(database)
    await database.execute("UPDATE runs SET status = 'queued', finished_at = NULL, error = NULL WHERE id = $1", run_id)
    await end(database, run_id)
    await handled(database)
    assert len(await started(database, "second")) == 2


async def test_a_trigger_starts_nothing_while_it_is_paused_or_once_it_is_dropped(
    database: Database, starting: Starting
) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    await Triggers(database).set_paused("second", "after", paused=True)
    await end(database, await submit(database, "first"))
    async with starting():
        await handled(database)
    assert [each.outcome for each in await deliveries(database)] == ["paused"]
    await Triggers(database).set_paused("second", "after", paused=False)
    await end(database, await submit(database, "first"))
    await apply(database, SECOND[: SECOND.index("triggers:")])
    await end(database, await submit(database, "first"))
    async with starting():
        await handled(database)
    assert await started(database, "second") == []
    assert len(await deliveries(database)) == 1


async def test_a_chain_of_runs_ends_at_its_limit_and_that_is_recorded(database: Database, starting: Starting) -> None:
    await apply(database, FIRST)
    circle = "triggers: {again: {workflow: {name: circle}, inputs: {topic: x}}}"
    await apply(database, FIRST.replace("first", "circle") + circle)
    async with starting(chain_limit=3):
        await end(database, await submit(database, "circle"))
        for _ in range(3):
            await handled(database)
            await asyncio.gather(
                *(
                    end(database, row["id"])
                    for row in await database.rows("SELECT id FROM runs WHERE finished_at IS NULL")
                )
            )
        await handled(database)
    assert [run["depth"] for run in await started(database, "circle")] == [0, 1, 2, 3]
    newest, *others = await deliveries(database)
    assert (newest.outcome, [each.outcome for each in others]) == ("refused", ["started"] * 3)
    assert newest.reason == "the ends of 4 runs in a row would have started the next one: FLOWYARD_CHAIN_LIMIT is 3"


async def test_large_outputs_reach_the_run_that_they_start(database: Database, registry: Registry) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND.replace("{payload.inputs.topic}: {payload.outputs}", "{payload.outputs.poem}"))
    await end(database, await submit(database, "first"), outputs='{"poem": "' + "x" * 400_000 + '"}')
    await handled(database)
    [run] = await started(database, "second")
    assert run["inputs"] == {"topic": "x" * 400_000}
    [delivery] = await deliveries(database)
    assert not (await Deliveries(database).get(delivery.id)).has_payload


async def test_an_end_waits_while_too_many_runs_are_queued(database: Database, starting: Starting) -> None:
    await apply(database, FIRST)
    await apply(database, SECOND)
    queued = await submit(database, "first")
    await end(database, await submit(database, "first", inputs={"topic": "snow"}))
    async with starting(queue_limit=1):
        await asyncio.sleep(1.2)
        assert await database.value("SELECT count(*) FROM run_ends") == 1
        assert await deliveries(database) == []
        await end(database, queued, "cancelled")
        await handled(database)
    assert len(await started(database, "second")) == 1
