"""Retries and forks: what has succeeded is taken along, and isn't executed again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flowyard.runs.run import Change, Fork
from support.attempts import Attempts, WireModel, failing
from support.shapes import LOOP, MAP, finished
from support.stored import Stored
from support.workflows import document


async def test_a_retry_replays_what_succeeded_and_executes_the_failed_step(stored: Stored, attempts: Attempts) -> None:
    run_id = await attempts.submit(document("a b c", nodes="", config="execution: {max_retries: 0}"))
    failed = WireModel({"b": failing(1)})
    result = await attempts.executor(failed).run()
    assert result is not None
    assert (result.status, result.error and result.error.code) == ("failed", "provider_error")
    await stored.moves.retry(run_id)
    again = WireModel()
    result = await attempts.executor(again).run()
    assert result is not None
    assert (result.status, result.outputs) == ("succeeded", {"a": "a", "b": "b", "c": "c"})
    assert again.calls == {"b": 1, "c": 1}
    assert [(s.node, s.status) for s in await stored.history.steps(run_id)] == [(n, "succeeded") for n in "abc"]
    await finished(stored, run_id)


async def forked(stored: Stored, origin: UUID, node: str, visit: int, state: dict[str, Any]) -> UUID:
    before = await stored.history.started_at_seq(origin, node, visit)
    return await stored.run(fork=Fork(origin, node, visit, state), steps_before=before)


async def test_a_fork_takes_steps_along_and_goes_on_from_a_changed_state(stored: Stored, attempts: Attempts) -> None:
    text = document("a c", nodes="- {id: b, prompt: 'b after {a}', outputs: [b]}", fields="b: str").replace(
        "\n  - {id: c,", "\n  - {id: c, inputs: {seen: '{a}'},"
    )
    origin = await attempts.submit(text)
    await attempts.executor(WireModel()).run()
    await forked(stored, origin, "b", 1, {"a": "changed"})
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert "a" not in model.calls
    assert "b after changed" in model.prompts


async def test_what_a_fork_changes_replaces_a_field_whose_writes_merge(stored: Stored, attempts: Attempts) -> None:
    text = document(
        "a",
        fields="notes: {type: 'list[str]', reduce: append, default: [start]}",
        nodes="""
        - {id: b, prompt: 'b sees {notes}', outputs: [notes]}
        - {id: c, prompt: 'c sees {notes}', outputs: [notes]}
        """,
    )
    origin = await attempts.submit(text)
    result = await attempts.executor(WireModel()).run()
    assert result is not None
    assert (result.outputs or {})["notes"] == ["start", "b", "c"]
    await forked(stored, origin, "b", 1, {"notes": ["other"]})
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.outputs or {})["notes"] == ["other", "b", "c"]
    assert model.calls == {"b": 1, "c": 1}


async def test_what_two_forks_in_a_row_changed_is_all_there(stored: Stored, attempts: Attempts) -> None:
    text = document("a b", nodes="- {id: c, prompt: 'c after {a} and {b}', outputs: [c]}", fields="c: str")
    origin = await attempts.submit(text)
    await attempts.executor(WireModel()).run()
    child = await forked(stored, origin, "b", 1, {"a": "first"})
    await attempts.executor(WireModel()).run()
    earlier = (Change("b", 1, {"a": "first"}),)
    before = await stored.history.started_at_seq(child, "c", 1)
    await stored.run(fork=Fork(child, "c", 1, {"b": "second"}, earlier), steps_before=before)
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert model.calls == {"c": 1}
    assert model.prompts == ["c after first and second"]


async def test_a_fork_can_begin_at_a_later_turn_of_a_loop(stored: Stored, attempts: Attempts) -> None:
    origin = await attempts.submit(LOOP)
    await attempts.executor(WireModel()).run()
    fork = await forked(stored, origin, "b", 2, {})
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert result.status == "succeeded"
    assert model.calls == {"a": 1, "b": 2, "c": 1}
    assert len(await stored.history.steps(fork)) == 7


async def test_a_fork_counts_the_items_of_a_map_that_it_keeps_and_not_the_map(
    stored: Stored, attempts: Attempts
) -> None:
    origin = await attempts.submit(MAP)
    await attempts.executor(WireModel()).run()
    entries = await stored.entries(await forked(stored, origin, "z", 1, {}))
    assert [(entry.type, entry.data.get("kept")) for entry in entries] == [("run.queued", None), ("run.forked", 5)]


async def test_a_fork_of_a_run_that_an_older_version_recorded_goes_by_the_rules_of_that_run(
    stored: Stored, attempts: Attempts
) -> None:
    """It has no rows of choices, and its fork gets none."""
    text = document(
        "a b c",
        """
        - {from: START, routes: [{if: "flag", to: a}, {default: c}]}
        - {from: a, to: b}
        - {from: [b, c], to: END}
        """,
        fields="flag: {type: bool, default: true}",
    )
    origin = await attempts.submit(text)
    await attempts.executor(WireModel()).run()
    await stored.database.execute("UPDATE runs SET engine = 0")
    await stored.database.execute("DELETE FROM steps WHERE kind = 'decision'")
    await forked(stored, origin, "b", 1, {})
    model = WireModel()
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls) == ("succeeded", {"b": 1})


async def test_a_mismatch_leaves_what_is_recorded_so_that_a_retry_goes_on_from_there(
    stored: Stored, attempts: Attempts
) -> None:
    """Here after a retry that was to execute a step with all its tries."""
    text = document("a", nodes="- {id: b, prompt: b, outputs: [b], retry: {max_retries: 1, initial_delay: 0}}")
    run_id = await attempts.submit(text.replace("fields:", "fields:\n    b: str"))
    await attempts.executor(WireModel({"b": failing(2)})).run()
    await stored.moves.retry(run_id)
    before = await stored.history.record(run_id)
    await stored.database.execute("UPDATE steps SET next = '[\"a\"]' WHERE node = 'a'")
    none = WireModel()
    result = await attempts.executor(none).run()
    assert result is not None
    assert (result.error and result.error.code, none.calls.total()) == ("replay_mismatch", 0)
    await stored.database.execute("UPDATE steps SET next = '[\"b\"]' WHERE node = 'a'")
    await stored.moves.retry(run_id)
    assert await stored.history.record(run_id) == before
    model = WireModel({"b": failing(1)})
    result = await attempts.executor(model).run()
    assert result is not None
    assert (result.status, model.calls) == ("succeeded", {"b": 2})
