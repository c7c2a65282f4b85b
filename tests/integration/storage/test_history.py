from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from flowyard.errors.requests import UnknownStep
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.claim import Claim
from flowyard.runs.events import Failure, StepId
from flowyard.runs.run import CallStart, Entry, Spending, StepCalls
from flowyard.storage import history
from flowyard.storage.database import dumps
from flowyard.storage.packing import packed
from support.queued import new_id
from support.rows import call_row, step_row
from support.stored import LONG_AGO, Stored, commit_of, entries_json


async def append(stored: Stored, claim: Claim, seq: int, *kinds: str) -> None:
    commit = commit_of(claim, seq=seq + len(kinds) - 1)
    commit.entries = entries_json(seq, *kinds)
    await stored.committer.commit(commit)


async def step(stored: Stored, claim: Claim, seq: int, *, type: str, **about: object) -> None:  # noqa: A002
    commit = commit_of(claim, seq=seq)
    commit.entries = packed([Entry(seq, LONG_AGO, type, about)])
    await stored.committer.commit(commit)


async def seqs(stored: Stored, claim: Claim, after: int, most: int = 1000) -> list[int]:
    return [entry.seq for entry in await stored.history.entries(claim.run_id, after=after, most=most)]


async def test_a_reader_goes_on_from_any_event_though_they_were_written_in_batches(stored: Stored) -> None:
    claim = await stored.claimed()
    await append(stored, claim, 2, "a", "b", "c")
    await append(stored, claim, 5, "d", "e")
    for after in range(8):
        assert await seqs(stored, claim, after) == list(range(after + 1, 7))
    assert await seqs(stored, claim, 0, most=3) == [1, 2, 3]
    assert await seqs(stored, claim, 3, most=2) == [4, 5]


async def test_nobody_has_a_history_before_it_happens(stored: Stored) -> None:
    assert await stored.history.entries(new_id()) == []
    assert await stored.history.steps(new_id()) == []
    assert await stored.history.calls(new_id()) == []


async def test_a_step_is_found_where_it_last_began(stored: Stored) -> None:
    claim = await stored.claimed()
    await step(stored, claim, 2, type="step.started", node="write", visit=1)
    await step(stored, claim, 3, type="step.started", node="write", visit=2)
    await step(stored, claim, 4, type="step.finished", node="write", visit=1)
    await step(stored, claim, 5, type="step.started", node="write", visit=1)
    await step(stored, claim, 6, type="step.started", node="écrire", visit=1)
    assert await stored.history.started_at_seq(claim.run_id, "write", 1) == 5
    assert await stored.history.started_at_seq(claim.run_id, "write", 2) == 3
    assert await stored.history.started_at_seq(claim.run_id, "écrire", 1) == 6
    for node, visit in (("write", 3), ("rite", 1)):
        with pytest.raises(UnknownStep):
            await stored.history.started_at_seq(claim.run_id, node, visit)


@pytest.mark.parametrize("text", ["\u0000", "\ud800", '"node":"write"'])
async def test_a_step_is_found_whatever_characters_a_model_replied(stored: Stored, text: str) -> None:
    claim = await stored.claimed()
    commit = commit_of(claim, seq=3)
    started = Entry(2, LONG_AGO, "step.started", {"node": "write", "visit": 1})
    commit.entries = packed([started, Entry(3, LONG_AGO, "step.finished", {"outputs": {text: text}})])
    await stored.committer.commit(commit)
    assert await stored.history.started_at_seq(claim.run_id, "write", 1) == 2
    assert (await stored.entries(claim.run_id))[-1].data["outputs"] == {text: text}


async def test_a_fork_finds_the_steps_that_it_took_along_by_their_end(stored: Stored) -> None:
    claim = await stored.claimed()
    commit = commit_of(claim, seq=2)
    commit.add_step(step_row(2, outputs={"x": 1}))
    await stored.committer.commit(commit)
    assert await stored.history.started_at_seq(claim.run_id, "write", 1) == 2


async def test_a_step_and_a_call_come_back_as_they_were_committed(stored: Stored) -> None:
    claim = await stored.claimed()
    about: dict[str, Any] = {"tries": 3, "started_at": claim.at, "duration_s": 0.25}
    failure = Failure("provider_error", "it said no", "write", "no")
    tokens: dict[str, Any] = {"tokens_in": 1, "tokens_out": 2, "tokens_cached": 3}
    call = call_row(2, StepId("write", 2, 0), at=claim.at, first_token_s=0.125, **tokens, error="timeout", retries=4)
    commit = commit_of(claim)
    steps = [
        step_row(2, StepId("write", 2, 0), **about, outputs={"x": 1}, next=["a", {"if": None}], start_seq=1),
        step_row(3, StepId("check", 1), **about, status="failed", handled="goto", error=failure),
        step_row(
            4, StepId("later", 1), kind="map", status="waiting", deadline=claim.at, wake_at=claim.at, outputs=None
        ),
    ]
    for step in steps:
        commit.add_step(step)
    commit.add_call(call)
    commit.add_call(unknown := call_row(3, cost_usd=Decimal("0.10"), tokens_in=None))
    await stored.committer.commit(commit)
    assert await stored.history.record(claim.run_id) == steps
    assert [step.id for step in await stored.history.steps(claim.run_id)] == [step.id for step in steps]
    assert await stored.history.calls(claim.run_id) == [call, unknown]


async def test_of_the_calls_of_a_step_the_sums_and_the_last_are_known(stored: Stored) -> None:
    claim = await stored.claimed()
    commit = commit_of(claim)
    write, unknown = StepId("write", 1), StepId("unknown", 1)
    for step in (write, unknown):
        commit.add_step(step_row(1, step, status="running", outputs=None))
    known: dict[str, Any] = {"cost_usd": Decimal("0.1"), "error": "invalid_output"}
    commit.add_call(call_row(2, part=1, tokens_in=10, **known))
    commit.add_call(call_row(3, part=2, tokens_in=7, question=1, round=1, **known | {"status": "lost"}))
    commit.add_call(call_row(4, "other", part=3))
    await stored.committer.commit(commit)
    calls = {step.id: calls for step, calls in await stored.history.open_steps(claim.run_id)}
    last = CallStart(write, part=2, round=1, question=1, provider="openai", model="small")
    spending = Spending(2, 17, 10, Decimal("0.2"))
    assert calls == {write: StepCalls(spending, last, was_answered=False, parts=2), unknown: StepCalls()}


async def test_what_was_said_in_calls_is_read_apart_from_them_and_not_all_at_once(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await stored.claimed()
    commit = commit_of(claim)
    said = {seq: CallTexts(({"role": "user", "content": "\0 \ud83d" + "x" * 100},), "yes") for seq in (2, 4, 5)}
    for seq in (2, 3, 4, 5):
        texts = dumps(said[seq].data) if seq in said else None
        commit.add_call(call_row(seq, part=seq, texts=texts))
    await stored.committer.commit(commit)
    assert [call.texts for call in await stored.history.calls(claim.run_id)] == [None] * 4
    assert await stored.history.with_texts(claim.run_id) == {2, 4, 5}
    assert await stored.history.texts(claim.run_id) == said
    assert await stored.history.texts(claim.run_id, after=2, to=4) == {4: said[4]}
    monkeypatch.setattr(history, "TEXTS_ROWS", 2)
    assert await stored.history.texts(claim.run_id) == {2: said[2], 4: said[4]}
    # At least one, however long it is.
    monkeypatch.setattr(history, "TEXTS_BYTES", 1)
    assert await stored.history.texts(claim.run_id, after=2) == {4: said[4]}
