from __future__ import annotations

import asyncio
from dataclasses import replace
from json import loads
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import IdempotencyMismatch, InvalidInputs, UnknownRun, UnknownWorkflow
from flowyard.runs.run import NewRun, Run
from flowyard.storage.database import dumps
from flowyard.storage.run_lists import RunFilter
from flowyard.storage.runs import Runs
from support.queued import new_id, new_run
from support.statements import Watched
from support.stored import Stored, ending

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(alphabet=st.characters())
JSON = st.recursive(SCALARS | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


async def new(stored: Stored, **about: Any) -> NewRun:
    return new_run(await stored.workflow(), **about)


async def ids(stored: Stored, wanted: RunFilter, limit: int = 100) -> list[UUID]:
    result = await stored.runs.ids(wanted, limit)
    assert [run.id for run in await stored.runs.page(wanted, limit)] == result
    return result


async def test_a_run_that_was_added_is_queued_and_has_its_first_event(stored: Stored) -> None:
    run_id = await stored.run(inputs={"topic": "sea"}, priority=2)
    run = await stored.runs.get(run_id)
    assert (run.status, run.priority, run.inputs, run.attempt, run.is_open) == ("queued", 2, {"topic": "sea"}, 0, True)
    assert (run.started_at, run.finished_at, run.executor, run.outputs, run.error) == (None,) * 5
    [entry] = await stored.entries(run_id)
    assert (entry.seq, entry.type, entry.at, run.last_seq) == (1, "run.queued", run.created_at, 1)


async def test_the_same_request_leads_to_the_same_run(stored: Stored) -> None:
    run = await new(stored, key="k:1", fingerprint=b"a")
    assert await stored.runs.add(run) == (run.id, True)
    assert await stored.runs.add(replace(run, id=new_id())) == (run.id, False)
    assert (await stored.counts())["runs"] == 1


async def test_the_key_of_another_request_is_refused(stored: Stored) -> None:
    run = await new(stored, key="k:1", fingerprint=b"a")
    await stored.runs.add(run)
    with pytest.raises(IdempotencyMismatch, match="'1'"):
        await stored.runs.add(replace(run, id=new_id(), fingerprint=b"b"))


async def test_of_many_equal_requests_at_once_one_makes_the_run(stored: Stored) -> None:
    run = await new(stored, key="k:1", fingerprint=b"a")
    added = await asyncio.gather(*(stored.runs.add(replace(run, id=new_id())) for _ in range(8)))
    assert len({run_id for run_id, _ in added}) == 1
    assert sum(is_new for _, is_new in added) == 1


async def test_two_processes_that_add_runs_with_the_same_keys_never_wait_for_each_other(stored: Stored) -> None:
    runs = [await new(stored, key=f"k:{n}", fingerprint=b"a") for n in range(64)]
    one, two = Runs(stored.database), Runs(stored.database)
    for attempt in range(20):
        given = [replace(run, key=f"{attempt} {run.key}") for run in runs]
        added = await asyncio.gather(
            *(one.add_current(replace(run, id=new_id())) for run in given),
            *(two.add_current(replace(run, id=new_id())) for run in reversed(given)),
        )
        results = [result for result in added if result is not None]
        assert sum(is_new for _, is_new in results) == len({run_id for run_id, _ in results}) == 64


async def test_runs_of_one_moment_are_added_in_the_order_of_their_keys(stored: Stored) -> None:
    watched = Watched(stored.database)
    runs, keys = Runs(watched), [f"k:{n}" for n in (3, 1, 2)]
    await asyncio.gather(*[runs.add_current(await new(stored, key=key, fingerprint=b"a")) for key in keys])
    assert sorted(keys) in watched.given[-1]


async def test_a_run_that_postgres_refuses_fails_no_other_of_its_moment(stored: Stored) -> None:
    good, bad = [await new(stored) for _ in range(5)], await new(stored, key="b\0")
    added = [asyncio.create_task(stored.runs.add_current(run)) for run in (*good[:3], bad, *good[3:])]
    await asyncio.wait(added)
    assert [task.exception() is None for task in added] == [True, True, True, False, True, True]
    assert (await stored.counts())["runs"] == 5


async def test_no_run_is_added_to_a_workflow_that_is_gone(stored: Stored) -> None:
    run = await new(stored)
    await stored.workflows.delete("test")
    with pytest.raises(UnknownWorkflow):
        await stored.runs.add(run)
    assert (await stored.counts())["runs"] == 0


async def test_a_run_that_nobody_added_is_unknown(stored: Stored) -> None:
    for look in (stored.runs.get, stored.runs.document_of):
        with pytest.raises(UnknownRun):
            await look(new_id())


async def test_the_document_of_a_run_stays_that_of_its_revision(stored: Stored) -> None:
    await stored.workflow(document="first")
    run_id = await stored.run()
    await stored.workflow(document="second")
    assert await stored.runs.document_of(run_id) == "first"


async def test_a_list_is_narrowed_by_all_of_its_filters(stored: Stored) -> None:
    first, second = await stored.run("poems"), await stored.run("poems")
    other = await stored.run("news")
    await stored.moves.cancel(first)
    assert await ids(stored, RunFilter()) == [other, second, first]
    assert await ids(stored, RunFilter(), limit=2) == [other, second]
    assert await ids(stored, RunFilter(workflow="poems")) == [second, first]
    assert await ids(stored, RunFilter(statuses=["cancelled"])) == [first]
    assert await ids(stored, RunFilter(workflow="poems", statuses=["queued", "running"])) == [second]
    assert await ids(stored, RunFilter(before=second)) == [first]
    assert await ids(stored, RunFilter(workflow="poems", before=second)) == [first]
    assert await ids(stored, RunFilter(workflow="news", before=second)) == []
    run: Run = await stored.runs.get(second)
    assert await ids(stored, RunFilter(created_from=run.created_at)) == [other, second]
    assert await ids(stored, RunFilter(created_to=run.created_at)) == [first]
    assert await ids(stored, RunFilter(forked_from=first)) == []


async def test_the_depth_of_the_queue_is_counted_up_to_a_limit(stored: Stored) -> None:
    assert await stored.queue.oldest_queued_s() == 0
    for _ in range(4):
        await stored.run()
    await stored.claims.take("one", 1)
    assert (await stored.queue.queued(2), await stored.queue.queued(100)) == (2, 3)
    assert await stored.queue.depths() == {"queued": 3, "running": 1, "waiting": 0}
    assert await stored.queue.oldest_queued_s() > 0


@given(value=JSON)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_inputs_and_outputs_come_back_as_they_were(stored: Stored, value: Any) -> None:
    claim = await stored.claimed(inputs={"value": value})
    assert loads(claim.inputs) == {"value": value}
    commit = ending(claim)
    commit.outputs = dumps({"value": value})
    await stored.committer.commit(commit)
    run = await stored.runs.get(claim.run_id)
    assert (run.inputs, run.outputs) == ({"value": value}, {"value": value})


@pytest.mark.parametrize("text", ["a\u0000b", "\ud800", "\udfff\ud800", "😀", '\\u0000"'])
async def test_no_character_is_lost_or_changed(stored: Stored, text: str) -> None:
    claim = await stored.claimed(inputs={text: [text]})
    assert loads(claim.inputs) == (await stored.runs.get(claim.run_id)).inputs == {text: [text]}


@pytest.mark.parametrize("number", [2**63, -(2**1024), 10**4000, 1e308, 5e-324, 0.1 + 0.2])
async def test_no_number_is_rounded(stored: Stored, number: float) -> None:
    run_id = await stored.run(inputs={"n": number})
    assert (await stored.runs.get(run_id)).inputs["n"] == number


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="NaN"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(10**5000, id="5,000 digits"),
        pytest.param(nested(50_000), id="deep"),
        pytest.param(object(), id="no JSON"),
    ],
)
async def test_what_json_can_not_hold_is_refused(stored: Stored, value: Any) -> None:
    with pytest.raises(FlowyardError) as refused:
        await stored.run(inputs={"value": value})
    assert isinstance(refused.value, InvalidInputs)
    assert (await stored.counts())["runs"] == 0


async def test_orphans_would_be_seen(stored: Stored) -> None:
    """What never happens is made by hand here."""
    for number, harm in enumerate(
        (
            "UPDATE claims SET lease_until = now() - interval '2 minutes'",
            "UPDATE claims SET executor = NULL",
            "DELETE FROM claims",
            "UPDATE runs SET status = 'waiting', wake_at = now() - interval '2 minutes'",
            "UPDATE runs SET status = 'queued'",
        )
    ):
        claim = await stored.claimed()
        assert await stored.queue.orphaned() == 0
        await stored.database.execute(harm)
        assert await stored.queue.orphaned() == 1, number
        await stored.database.execute("DELETE FROM runs WHERE id = $1", claim.run_id)
        await stored.database.execute("DELETE FROM claims")
