"""A model that calls tools, and a process that dies at any moment: what was recorded isn't asked or called again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from flowyard.language.tools import ToolFacts
from flowyard.runs.events import StepId
from flowyard.runs.run import Part
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import Tool, ToolContext
from support.attempts import Attempts, MiniExecutor, WireModel
from support.stored import Stored
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Text
from support.wire.server import Request
from support.workflows import document

STEP = StepId("ask", 1)
DOCUMENT = document("", fields="answer: str", nodes="- {id: ask, prompt: go, outputs: [answer], tools: [test.count]}")
ROUNDS = ((0, 1, 2), (3,), (4, 5))


@dataclass
class Tools:
    """A tool that counts. `seen`: for each call, the recorded parts of its step when it was made."""

    stored: Stored
    once: bool = False
    hold: int | None = None
    keys: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    seen: list[list[Part]] = field(default_factory=list)
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    run_id: UUID | None = None

    def given_to(self, executor: MiniExecutor) -> MiniExecutor:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        facts = ToolFacts(name="test.count", description="Counts.", parameters=schema, once=self.once)
        executor.parts = replace(executor.parts, tools=ToolRegistry([Tool(facts, self._run)]))
        return executor

    async def _run(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        number = arguments["n"]
        self.keys.append(context.key)
        self.numbers.append(number)
        if self.run_id is not None:
            self.seen.append(await self.stored.history.parts(self.run_id, STEP))
        if number == self.hold:
            self.holding.set()
            await asyncio.Event().wait()
        return {"n": number}


async def ask_in_rounds(request: Request) -> str | Behaviour:
    """Six calls in three rounds, and then the sum of what was counted."""
    results = [message for message in request.body["messages"] if message["role"] == "tool"]
    done = 0
    for numbers in ROUNDS:
        if done == len(results):
            return Text("", calls=tuple(("test_count", {"n": number}) for number in numbers))
        done += len(numbers)
    return ",".join(message["content"] for message in results)


ANSWER = ",".join(f'{{"n": {number}}}' for number in range(6))


def asking() -> WireModel:
    return WireModel({"ask": ask_in_rounds})


def results_in(parts: list[Part]) -> set[int]:
    return {part.result["value"]["n"] for part in parts if part.tool is not None and part.result is not None}


async def killed(commits: int, executor: MiniExecutor, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Lets the executor write so many commits, and kills it. Whether it died before the end of its run."""
    died, original, left = asyncio.Event(), executor.committer.commit, commits

    async def commit(wanted: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            died.set()
            await asyncio.Event().wait()
        return await original(wanted)

    monkeypatch.setattr(executor.committer, "commit", commit)
    attempt = executor.start(await executor.take())
    assert attempt.task is not None
    dead = asyncio.create_task(died.wait())
    await asyncio.wait([dead, attempt.task], return_when=asyncio.FIRST_COMPLETED)
    has_died = dead.done()
    dead.cancel()
    await executor.crash()
    return has_died


async def test_a_reply_is_on_disk_before_a_tool_is_called_that_it_asks_for(stored: Stored, attempts: Attempts) -> None:
    tools = Tools(stored, run_id=await attempts.submit(DOCUMENT))
    run = await tools.given_to(attempts.executor(asking())).run()
    assert run is not None
    assert run.outputs == {"answer": ANSWER}
    assert len(tools.seen) == 6
    for number, parts in zip(tools.numbers, tools.seen, strict=True):
        rounds = next(i for i, numbers in enumerate(ROUNDS, 1) if number in numbers)
        assert len([part for part in parts if part.tool is None]) == rounds
    assert len(set(tools.keys)) == 6
    # Each is one part of the step, and costs nothing.
    assert (run.spending.calls, [part.part for part in tools.seen[-1]][:1]) == (4, [1])


async def test_after_a_crash_nothing_that_was_recorded_is_asked_or_called_again(
    stored: Stored, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    while True:
        run_id, first = await attempts.submit(DOCUMENT), Tools(stored)
        if not await killed(commits, first.given_to(attempts.executor(asking())), monkeypatch):
            break
        await attempts.lose_executor(run_id)
        parts = await stored.history.parts(run_id, STEP)
        recorded, replies = results_in(parts), sum(part.tool is None for part in parts)
        model, second = asking(), Tools(stored)
        run = await second.given_to(attempts.executor(model)).run()
        assert run is not None
        assert (run.status, run.outputs) == ("succeeded", {"answer": ANSWER})
        assert sorted(second.numbers) == sorted(set(range(6)) - recorded)
        assert model.calls["ask"] == 4 - replies
        # What is called again is called under the same key, so that the other side can have its effect once.
        keys = dict(zip(first.numbers, first.keys, strict=True))
        assert all(keys.get(n, key) == key for n, key in zip(second.numbers, second.keys, strict=True))
        assert len(set(first.keys) | set(second.keys)) == 6
        events = [entry for entry in await stored.entries(run_id) if entry.type == "tool.called"]
        assert len(events) == 6
        commits += 1
    # The replies of three rounds are written before their tools are called, and the end is.
    assert commits >= 4


async def test_a_tool_that_may_be_called_once_is_not_called_again(stored: Stored, attempts: Attempts) -> None:
    run_id, first = await attempts.submit(DOCUMENT), Tools(stored, once=True, hold=3)
    dying = first.given_to(attempts.executor(asking()))
    dying.start(await dying.take())
    await first.holding.wait()
    await dying.crash()
    await attempts.lose_executor(run_id)
    second, sent = Tools(stored, once=True), list[str]()

    async def answer(request: Request) -> str | Behaviour:
        sent.extend(message["content"] for message in request.body["messages"] if message["role"] == "tool")
        return await ask_in_rounds(request)

    run = await second.given_to(attempts.executor(WireModel({"ask": answer}))).run()
    assert run is not None
    assert run.status == "succeeded"
    assert (sorted(first.numbers), sorted(second.numbers)) == ([0, 1, 2, 3], [4, 5])
    assert "its outcome is unknown" in sent[3]


async def test_a_call_that_was_not_recorded_is_made_again_under_its_key(stored: Stored, attempts: Attempts) -> None:
    run_id, first = await attempts.submit(DOCUMENT), Tools(stored, hold=3)
    dying = first.given_to(attempts.executor(asking()))
    dying.start(await dying.take())
    await first.holding.wait()
    await dying.crash()
    await attempts.lose_executor(run_id)
    second = Tools(stored)
    assert await second.given_to(attempts.executor(asking())).run() is not None
    assert (second.numbers[0], sorted(second.numbers[1:])) == (3, [4, 5])
    assert second.keys[0] == first.keys[3]


async def test_a_retry_of_a_run_begins_the_conversation_again_under_new_keys(
    stored: Stored, attempts: Attempts
) -> None:
    text = DOCUMENT.replace("tools: [test.count]", "tools: [test.count], max_tool_rounds: 1")
    run_id, first, second = await attempts.submit(text), Tools(stored), Tools(stored)
    failed = await first.given_to(attempts.executor(asking())).run()
    assert failed is not None
    assert failed.error is not None
    assert failed.error.code == "too_many_tool_rounds"
    await stored.moves.retry(run_id)
    model = asking()
    assert await second.given_to(attempts.executor(model)).run() is not None
    assert (sorted(second.numbers), model.calls["ask"]) == ([0, 1, 2], 2)
    assert not set(first.keys) & set(second.keys)


async def test_a_tool_node_whose_result_is_recorded_is_not_called_again(
    stored: Stored, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = document(
        "b",
        fields="found: any",
        nodes="- {id: find, tool: test.count, with: {n: 3}, outputs: [found]}",
        edges="- {from: START, to: find}\n- {from: find, to: b}\n- {from: b, to: END}",
    )
    commits = 0
    while True:
        run_id, first = await attempts.submit(text), Tools(stored)
        if not await killed(commits, first.given_to(attempts.executor()), monkeypatch):
            break
        await attempts.lose_executor(run_id)
        recorded = results_in(await stored.history.parts(run_id, StepId("find", 1)))
        second = Tools(stored)
        run = await second.given_to(attempts.executor()).run()
        assert run is not None
        assert (run.status, run.outputs) == ("succeeded", {"found": {"n": 3}, "b": "b"})
        assert second.numbers == ([] if recorded else [3])
        assert set(first.keys) | set(second.keys) == {f"{run_id}:find:1/0.0"}
        commits += 1
    assert commits >= 2


async def test_calls_of_tools_are_no_model_calls(stored: Stored, attempts: Attempts) -> None:
    run_id, tools = await attempts.submit(DOCUMENT), Tools(stored)
    await tools.given_to(attempts.executor(asking())).run()
    assert len(await stored.history.calls(run_id)) == 4
    assert (await stored.history.spent(run_id)).model_calls == 4
    [rows] = await eventually(
        lambda: stored.database.rows("SELECT count(*) FROM step_parts WHERE run_id = $1 AND tool IS NOT NULL", run_id)
    )
    assert rows["count"] == 6
