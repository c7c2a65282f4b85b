"""A process dies between any two of its commits, and another goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest

from flowyard.runs.run import Entry
from flowyard.storage.commits import CommitResult, RunCommit
from support.attempts import Attempts, MiniExecutor, WireModel
from support.shapes import CHAIN, FORK, LOOP, MAP, NESTED, ROUTES, STEPS, finished
from support.stored import Stored

_RESULTS = ("step.finished", "step.failed", "route.taken", "loop.turned")
_SHAPES = pytest.mark.parametrize(
    "text", [CHAIN, FORK, LOOP, MAP, ROUTES, NESTED], ids=["chain", "fork", "loop", "map", "routes", "nested"]
)


def results(entries: Iterable[Entry]) -> Counter[tuple[Any, ...]]:
    """What mustn't be announced twice. Steps that were interrupted start twice."""
    facts = ("node", "visit", "item", "turn", "outcome", "to")
    return Counter((e.type, *(e.data.get(fact) for fact in facts)) for e in entries if e.type in _RESULTS)


def die_after(executor: MiniExecutor, commits: int, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Lets so many commits be written. The event: another one was about to be sent."""
    died, original, left = asyncio.Event(), executor.committer.commit, commits

    async def commit(commit: RunCommit) -> CommitResult:
        nonlocal left
        left -= 1
        if left < 0:
            died.set()
            await asyncio.Event().wait()
        return await original(commit)

    monkeypatch.setattr(executor.committer, "commit", commit)
    return died


async def killed_after(
    commits: int, run_id: UUID, attempts: Attempts, monkeypatch: pytest.MonkeyPatch, model: WireModel | None = None
) -> bool:
    """Whether the executor has died before the end of the run."""
    one = attempts.executor(model)
    died = asyncio.create_task(die_after(one, commits, monkeypatch).wait())
    attempt = one.start(await one.take())
    assert attempt.task is not None
    async with asyncio.timeout(20):
        await asyncio.wait([died, attempt.task], return_when=asyncio.FIRST_COMPLETED)
    has_died = died.done()
    died.cancel()
    await one.crash()
    if has_died:
        await attempts.lose_executor(run_id)
    return has_died


@_SHAPES
async def test_between_any_two_commits_a_crash_loses_and_repeats_no_result(
    stored: Stored, attempts: Attempts, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    whole_id = await attempts.submit(text)
    whole = await attempts.executor().run()
    assert whole is not None
    expected = results(await stored.entries(whole_id))
    assert max(expected.values()) == 1
    record = {step.id: step.next for step in await stored.history.record(whole_id)}
    commits = 0
    while True:
        run_id = await attempts.submit(text)
        if not await killed_after(commits, run_id, attempts, monkeypatch):
            break
        before = [step for step in await stored.history.record(run_id) if step.has_ended]
        again = WireModel()
        result = await attempts.executor(again).run()
        assert result is not None
        assert (result.status, result.outputs) == ("succeeded", whole.outputs)
        assert len(await finished(stored, run_id)) == STEPS[text]
        assert results(await stored.entries(run_id)) == expected
        assert again.calls.total() == STEPS[text] - sum(step.kind == "step" for step in before)
        after = await stored.history.record(run_id)
        assert {step.id: step.next for step in after} == record
        # What had ended is as it was.
        assert [step for step in after if step.id in {earlier.id for earlier in before}] == before
        commits += 1
    assert commits >= 2


async def test_a_run_survives_one_crash_after_another(
    stored: Stored, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process writes two commits, and each goes on where the one before it was cut off."""
    run_id, model = await attempts.submit(NESTED, max_attempts=100), WireModel()
    crashes = 0
    while await killed_after(2, run_id, attempts, monkeypatch, model):
        crashes += 1
    assert crashes >= 3
    assert (await stored.runs.get(run_id)).status == "succeeded"
    assert len(await finished(stored, run_id)) == STEPS[NESTED]
    assert max(results(await stored.entries(run_id)).values()) == 1
