"""What is read again when a run goes on: little, however long the run is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any, Final
from uuid import UUID

import pytest

from flowyard.durable.resuming import BYTES_PER_ROW, MOST_BEHIND
from flowyard.runs.run import Run
from flowyard.secrets.sealing import SecretBox, new_key, read_keys
from flowyard.storage.outputs import MOST
from support.attempts import Attempts, WireModel, failing, failing_every_other_time
from support.shapes import finished
from support.stored import Stored
from support.wire.behaviour import Behaviour, Status
from support.wire.server import Request
from support.workflows import document

TURNS: Final = 12
NAMES: Final = [f"s{i}" for i in range(30)]
EDGES: Final = "".join(f"- {{from: {name}, to: {to}}}\n" for name, to in zip(NAMES, [*NAMES[1:], "ask"], strict=True))
WAIT: Final = "{max_retries: 1, initial_delay: 600, max_delay: 600}"
LOOP: Final = document(
    "beside j",
    f"""
    - {{from: START, to: [s0, beside]}}
    {EDGES.replace(chr(10), chr(10) + "    ")}
    - {{from: ask, loop: {{to: s0, until: "iterations('ask') >= {TURNS}", max_iterations: {TURNS}, exit_to: j}}}}
    - {{from: beside, to: j}}
    - {{from: j, to: END}}
    """,
    fields="n: {type: int, default: 0}\nanswers: {type: 'list[str]', reduce: append, default: []}",
    nodes="\n".join(
        [
            *(f"- {{id: {name}, set: {{n: {{expr: n + 1}}}}}}" for name in NAMES),
            f"- {{id: ask, prompt: '{{n}}', outputs: [answers], retry: {WAIT}}}",
        ]
    ),
    config="execution: {durability: async}",
)
"""In each turn of the loop 30 steps, and one that waits. Another branch waits for the loop's end."""
MAP: Final = document(
    "",
    """
    - {from: START, parallel: {items_field: items, target_node: work, collect_field: all, max_concurrency: 40,
                                on_item_error: collect}}
    - {from: work, to: END}
    """,
    fields=f"items: {{type: 'list[int]', default: {list(range(250))}}}\neach: str\nall: list",
    nodes=f"- {{id: work, prompt: '{{item}}', outputs: [each], retry: {WAIT}}}",
)


def waiting_model() -> WireModel:
    """In each turn, `ask` fails once."""
    return WireModel({"ask": failing_every_other_time()})


async def execute(attempts: Attempts, model: WireModel, *, between: Any = None) -> tuple[Run, list[int]]:
    """Executes a run to its end. Also how many rows were replayed each time."""
    executor, replayed = attempts.executor(model), []
    while True:
        executor.watching.replayed_rows = 0
        run = await executor.run()
        replayed.append(executor.watching.replayed_rows)
        if run is not None:
            return run, replayed
        if between is not None:
            await between()
        await attempts.time_to_wake()


async def record(stored: Stored, run_id: UUID) -> list[tuple[Any, ...]]:
    """What is stored of a run's steps, but for times and numbers."""
    steps = await stored.history.record(run_id)
    return sorted((str(s.id), s.kind, s.status, s.next, s.outputs, s.tries, s.handled) for s in steps)


async def test_a_run_that_waits_often_is_not_replayed_from_its_start_each_time(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(LOOP)
    model = waiting_model()
    run, replayed = await execute(attempts, model)
    assert run.status == "succeeded", run.error
    assert run.outputs == {"n": 30 * TURNS, "answers": ["ask"] * TURNS, "beside": "beside", "j": "j"}
    assert len(replayed) == TURNS + 1
    assert max(replayed) <= MOST_BEHIND
    assert model.calls["ask"] == 2 * TURNS
    assert len(await finished(stored, run_id)) == 31 * TURNS + 2


@pytest.mark.parametrize(("state", "most"), [(10, 2), (20 * BYTES_PER_ROW, 24)], ids=["small", "large"])
async def test_a_run_that_does_little_between_its_waits_is_not_replayed_from_its_start_each_time(
    attempts: Attempts, state: int, most: int
) -> None:
    """With a large state, only when a snapshot replaces many rows: also those that were replayed count."""
    text = document(
        "ask",
        """
        - {from: START, to: ask}
        - {from: ask, loop: {to: ask, until: "iterations('ask') >= 40", max_iterations: 40, exit_to: END}}
        """,
        fields=f"kept: {{type: str, default: {'x' * state}}}",
    ).replace("{id: ask,", f"{{id: ask, retry: {WAIT},")
    await attempts.submit(text)
    run, replayed = await execute(attempts, waiting_model())
    assert run.status == "succeeded"
    assert max(replayed) <= most


@pytest.mark.parametrize("how", ["deleted", "other engine", "unreadable"])
async def test_without_snapshots_a_run_comes_to_the_same(stored: Stored, attempts: Attempts, how: str) -> None:
    whole_id = await attempts.submit(LOOP)
    whole, _ = await execute(attempts, waiting_model())
    run_id, random = await attempts.submit(LOOP), Random(7)
    statement = {
        "deleted": "DELETE FROM snapshots",
        "other engine": "UPDATE snapshots SET engine = 7",
        "unreadable": "UPDATE snapshots SET state = (state::jsonb - 'written')::json",
    }[how]
    spoiled = 0

    async def spoil() -> None:
        nonlocal spoiled
        if random.random() < 0.8:
            spoiled += await stored.database.execute(statement)

    run, replayed = await execute(attempts, waiting_model(), between=spoil)
    assert spoiled > 1
    assert max(replayed) > MOST_BEHIND
    assert (run.status, run.outputs) == ("succeeded", whole.outputs)
    assert await record(stored, run_id) == await record(stored, whole_id)
    events = [sorted(entry.type for entry in await stored.entries(id_)) for id_ in (run_id, whole_id)]
    assert events[0] == events[1]


async def test_a_map_whose_items_are_answered_a_few_at_a_time_is_not_read_again_whole(
    stored: Stored, attempts: Attempts
) -> None:
    run_id = await attempts.submit(MAP)
    tries: Counter[str] = Counter()

    async def answer(request: Request) -> str | Behaviour:
        """Each item fails at first; the first ten fail again."""
        item = request.body["messages"][-1]["content"]
        tries[item] += 1
        return Status(500) if tries[item] == 1 or int(item) < 10 else "done"

    run, replayed = await execute(attempts, WireModel({"work": answer}))
    assert len(replayed) == 8
    assert set(tries.values()) == {2}
    assert max(replayed) <= MOST_BEHIND
    assert run.outputs is not None
    failed = [value for value in run.outputs["all"] if value != "done"]
    assert (len(run.outputs["all"]), len(failed)) == (250, 10)
    progress = [step.progress for step in await stored.history.steps(run_id) if step.kind == "map"]
    assert [str(each) for each in progress] == ["240 of 250 done, 10 failed"]


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "cancelled while it waits"])
async def test_a_run_that_has_ended_has_no_snapshot(stored: Stored, attempts: Attempts, end: str) -> None:
    run_id = await attempts.submit(LOOP)
    model = waiting_model()

    async def at_the_end() -> None:
        if not await stored.database.value("SELECT count(*) FROM snapshots"):
            return
        if end == "failed":
            model.answers["ask"] = failing(9)
        elif end.startswith("cancelled"):
            if end == "cancelled":
                await attempts.time_to_wake()
                executor = attempts.executor(WireModel(hold={"ask"}))
                attempt = executor.start(await executor.take())
                await executor.model.holding.wait()
                attempt.stop("cancelled")
                assert attempt.task is not None
                await attempt.task
            else:
                await stored.moves.cancel(run_id)

    executor = attempts.executor(model)
    while (await stored.runs.get(run_id)).is_open:
        if await executor.run() is None:
            await at_the_end()
            await attempts.time_to_wake()
    assert (await stored.runs.get(run_id)).status == end.split(maxsplit=1)[0]
    assert await stored.database.value("SELECT count(*) FROM snapshots") == 0


async def test_secrets_stay_sealed_in_a_snapshot(stored: Stored, attempts: Attempts) -> None:
    text = LOOP.replace("  fields:", "  fields:\n    token: {type: str, secret: true, required: true}").replace(
        "prompt: '{n}'", "prompt: '{n} {token}'"
    )
    box = SecretBox(read_keys(new_key()))
    sealed = box.seal("s3cret", workflow="test", name="token")
    await attempts.submit(text, {"token": sealed})
    model, seen = waiting_model(), []

    executor = attempts.executor(model)
    executor.parts = replace(executor.parts, box=box)
    while await executor.run() is None:
        seen += [row["state"] for row in await stored.database.rows("SELECT state::text FROM snapshots")]
        await attempts.time_to_wake()
    assert seen
    assert all("s3cret" not in state for state in seen)
    assert any(sealed in state for state in seen)
    assert model.prompts[-1].endswith("s3cret") or "s3cret" in model.prompts[-2]


_TOO_LARGE: Final = "json_build_object('a', repeat('x', 70000000))"


async def test_a_result_that_is_larger_than_any_may_be_is_not_loaded(stored: Stored, attempts: Attempts) -> None:
    """Earlier versions had no limit."""
    run_id = await attempts.submit(LOOP)
    assert await attempts.executor(waiting_model()).run() is None
    await stored.database.execute(f"UPDATE steps SET outputs = {_TOO_LARGE} WHERE node = 's1'")
    await stored.database.execute("DELETE FROM snapshots")
    await attempts.time_to_wake()
    run = await attempts.executor(waiting_model()).run()
    assert run is not None
    assert run.error is not None
    assert run.error.code == "too_large"
    assert run.error.message == f"the outputs of a step of run {run_id}: larger than the limit of {MOST} bytes"


async def test_a_snapshot_that_is_larger_than_any_may_be_is_not_loaded(stored: Stored, attempts: Attempts) -> None:
    await attempts.submit(LOOP)
    model = waiting_model()
    assert await attempts.executor(model).run() is None
    rows = await stored.database.value("SELECT count(*) FROM steps WHERE status = 'succeeded'")
    await stored.database.execute(f"UPDATE snapshots SET state = (state::jsonb || {_TOO_LARGE}::jsonb)::json")
    await attempts.time_to_wake()
    executor = attempts.executor(model)
    assert await executor.run() is None
    assert executor.watching.replayed_rows == rows
