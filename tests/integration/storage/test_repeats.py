"""Events are stored without what other rows of their run have, and read as they happened."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from flowyard.runs.claim import Claim
from flowyard.runs.entries import stored as stored_event
from flowyard.runs.entries import without_texts
from flowyard.runs.events import Event, Failure, ModelCalled, RunFinished, StepFinished, StepId, StepStarted
from flowyard.runs.large_values import LARGE, without_large
from flowyard.runs.run import Entry, Spending
from flowyard.storage import history
from flowyard.storage.commits import RunCommit
from flowyard.storage.database import dumps
from flowyard.storage.packing import packed
from flowyard.storage.profiles import Profiles
from flowyard.storage.repeats import without_repeats
from flowyard.storage.rows import CallRow
from support.queued import new_id
from support.rows import step_row
from support.stored import LONG_AGO, Stored

A, B, ITEM = StepId("a", 1), StepId("b", 2), StepId("a", 1, 3)
USAGE: dict[str, Any] = {"tokens_in": 20, "tokens_out": 5, "tokens_cached": None, "cost_usd": Decimal("0.000120")}


def called(step: StepId, **fields: Any) -> ModelCalled:
    usual: dict[str, Any] = {"provider": "openai", "model": "small", "duration_s": 0.25, "first_token_s": None, **USAGE}
    return ModelCalled(step, **{**usual, "finish_reason": "stop", "asks_json": False, **fields})


def finished(step: StepId, *calls: ModelCalled, outputs: Any = None, **fields: Any) -> StepFinished:
    spent = Spending()
    for call in calls:
        spent = spent.with_call(tokens_in=call.tokens_in, tokens_out=call.tokens_out, cost_usd=call.cost_usd)
    sums = {name: getattr(spent, name) for name in ("calls", "tokens_in", "tokens_out", "cost_usd")}
    return StepFinished(step, outputs=outputs or {}, **{"duration_s": 0.3, **sums, **fields})


def started(step: StepId) -> StepStarted:
    return StepStarted(step, 0.01, "openai", "small")


def commit_events(claim: Claim, first: int, events: Sequence[Event]) -> tuple[RunCommit, list[Entry]]:
    """A commit of them and their rows, and the entries that they are sent as."""
    commit = RunCommit(claim.run_id, claim.epoch, first - 1)
    entries: list[Entry] = []
    for event in events:
        commit.last_seq += 1
        entries.append(without_large(stored_event(commit.last_seq, LONG_AGO, event).entry)[0])
        match event:
            case ModelCalled():
                part = 1 + sum(step == event.step for step, _ in commit.calls)
                row = CallRow.of(event, seq=commit.last_seq, at=LONG_AGO)
                commit.add_call(row._replace(part=part))
            case StepFinished():
                times: dict[str, Any] = {"started_at": LONG_AGO, "duration_s": event.duration_s}
                commit.add_step(step_row(commit.last_seq, event.step, outputs=event.outputs, **times))
            case RunFinished():
                commit.status, commit.outputs = event.status, dumps(dict(event.outputs))
            case _:
                pass
    short = without_repeats(entries, calls=commit.calls.values(), steps=commit.steps.values())
    commit.entries = packed(short)
    return commit, entries


async def committed(stored: Stored, *commits: Sequence[Event]) -> tuple[Claim, list[Entry]]:
    """A run with these events, and how it must be read."""
    claim = await stored.claimed()
    entries = await stored.entries(claim.run_id)
    for events in commits:
        commit, more = commit_events(claim, len(entries) + 1, events)
        await stored.committer.commit(commit)
        entries += more
    return claim, entries


async def raw(stored: Stored, claim: Claim) -> list[str]:
    rows = await stored.database.rows(
        "SELECT entries::text AS text FROM events WHERE run_id = $1 ORDER BY seq", claim.run_id
    )
    return [row["text"] for row in rows]


async def test_the_events_of_a_quick_step_take_few_bytes(stored: Stored) -> None:
    call = called(A, reply_id="chatcmpl-1")
    end = RunFinished("succeeded", 0.5, {"x": "done"})
    claim, entries = await committed(stored, [started(A), call, finished(A, call, outputs={"x": "done"}), end])
    [text] = await raw(stored, claim)
    begun = '[[1767225600000000,"step.started",{"n":"a","commit_s":0.01}]'
    call_and_end = '[0,"called",{"reply_id":"chatcmpl-1"}],[0,"finished",{}]'
    assert text == f'{begun},{call_and_end},[0,"succeeded",{{"duration_s":0.5}}]]'
    assert await stored.entries(claim.run_id) == entries


@pytest.mark.parametrize(
    "events",
    [
        [started(A), replace(called(A), provider="anthropic"), finished(A)],
        [StepStarted(A), called(A), called(B), called(A), finished(A, called(A), called(A)), finished(B, called(B))],
        [called(A, finish_reason=None, asks_json=None), called(A, finish_reason="length", asks_json=True)],
        [called(A, error=Failure("provider_error", "down", "a"), tokens_in=None, retries=3, streamed=True)],
        [called(ITEM, cost_usd=None), finished(ITEM, called(ITEM, cost_usd=None)), finished(StepId("a", 1, 4))],
        [called(A), finished(A, called(A), called(A))],  # one of its calls was in an earlier commit
        [finished(A, outputs={"x": "o" * LARGE, "y": "\0 \ud83d", "z": None})],
        [finished(A, outputs={"large": "o" * (LARGE + 1), "small": 1})],
        [RunFinished("succeeded", 1.5, {"large": "o" * (LARGE + 1), "small": 1})],
        [RunFinished("failed", 1.5, {"x": 1}, Failure("test", "so"))],
    ],
)
async def test_events_are_read_as_they_happened(stored: Stored, events: list[Event]) -> None:
    claim, entries = await committed(stored, events)
    assert await stored.entries(claim.run_id) == entries


async def test_no_digit_of_a_duration_or_a_cost_is_lost(stored: Stored) -> None:
    chance = random.Random(7)
    events: list[Event] = []
    for number in range(1, 200):
        step = StepId("a", number)
        times = {name: chance.random() * 10 ** chance.randint(-5, 6) for name in ("duration_s", "first_token_s")}
        cost = Decimal(chance.randint(0, 10**9)).scaleb(chance.randint(-15, 3))
        call = called(step, **times, cost_usd=cost)
        events += [call, finished(step, call, duration_s=times["duration_s"] * 1.1)]
    claim, entries = await committed(stored, events)
    assert await stored.entries(claim.run_id) == entries


async def test_a_reader_goes_on_in_the_middle_of_a_commit(stored: Stored) -> None:
    call = called(A)
    claim, entries = await committed(stored, [started(A), call, finished(A, call, outputs={"x": 1}), called(B)])
    for after in range(len(entries) + 1):
        assert await stored.history.entries(claim.run_id, after=after) == entries[after:]


async def test_a_call_that_has_just_begun_is_not_taken_for_the_one_whose_event_came_last(stored: Stored) -> None:
    """Its row has the number of that event until it has ended."""
    claim = await stored.claimed()
    commit, entries = commit_events(claim, 2, [started(A), called(A)])
    begun = CallRow(seq=3, step=B, part=1, status="running", provider="other", model="large", at=LONG_AGO)
    commit.add_call(begun)
    commit.entries = packed(without_repeats(entries, calls=commit.calls.values(), steps=()))
    await stored.committer.commit(commit)
    assert (await stored.entries(claim.run_id))[1:] == entries


async def test_outputs_are_read_in_pages(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVENTS_BYTES", 1000)
    steps = [
        finished(StepId("a", number), outputs={"x": "o" * size}) for number, size in enumerate((5000, 600, 600, 1))
    ]
    claim, entries = await committed(stored, steps, [RunFinished("succeeded", 0.5, {"x": "o" * 5000})])
    pages = []
    more, after = True, 0
    while more:
        page, more = await stored.history.page(claim.run_id, after=after)
        after = page[-1].seq
        pages.append(page)
    assert [entry for page in pages for entry in page] == entries
    assert [[entry.seq for entry in page] for page in pages] == [[1, 2], [3], [4, 5], [6]]


async def test_outputs_that_are_not_in_an_event_are_not_read_with_it(stored: Stored) -> None:
    steps = [finished(StepId("a", number), outputs={"x": "o" * 200_000, "y": 1}) for number in range(1, 5)]
    claim, entries = await committed(stored, steps, [RunFinished("succeeded", 0.5, {"x": "o" * 200_000})])
    page = await stored.history.page(claim.run_id)
    assert page.entries == entries
    assert not page.more


async def test_a_profile_reads_no_outputs(stored: Stored) -> None:
    call = called(A)
    claim, entries = await committed(stored, [call, finished(A, call, outputs={"x": 1})])
    assert await Profiles(stored.database).entries(claim.run_id) == [without_texts(entry) for entry in entries]


async def test_the_first_event_of_a_run_is_read_from_its_row(stored: Stored) -> None:
    run_id = await stored.run()
    assert (await stored.counts())["events"] == 0
    [entry] = await stored.entries(run_id)
    assert (entry.seq, entry.type, entry.data) == (1, "run.queued", {})
    assert entry.at == (await stored.runs.get(run_id)).created_at
    assert await stored.entries(new_id()) == []
    assert await stored.history.entries(run_id, after=1) == []


async def test_a_run_that_is_deleted_while_it_is_read_has_no_events(stored: Stored) -> None:
    claim, _ = await committed(stored, [called(A)])
    await stored.database.execute("DELETE FROM step_parts")
    assert await stored.entries(claim.run_id) == []
