"""What a run reports, in which order, and that unknown is not zero."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from langsmith import tracing_context
from langsmith.utils import tracing_is_enabled

from flowyard.errors.requests import InvalidInputs
from flowyard.graph.run import run_workflow
from flowyard.llm.calls import ModelCall, ModelReply, Usage
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.events import Event, ModelCalled, RunFinished, RunStarted, StepFinished, StepId, StepStarted, Token
from support.workflows import Answering, compiled, document, load, run


class Clock:
    """Goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


async def test_a_run_reports_its_steps_from_start_to_end() -> None:
    text = document("a b", fields="topic: {type: str, required: true}")
    outcome = await run(text, {"topic": "rain"})
    assert [type(event) for event in outcome.events] == [
        RunStarted,
        *[StepStarted, ModelCalled, StepFinished] * 2,
        RunFinished,
    ]
    assert outcome.events[0] == RunStarted("run-1", "test", load(text).digest)
    assert outcome.events[1] == StepStarted(StepId("a", 1), provider="scripted", model="tests")


async def test_durations_are_taken_from_the_given_clock() -> None:
    outcome = await run(document("a"), clock=Clock())
    (finished,) = outcome.of(StepFinished)
    (called,) = outcome.of(ModelCalled)
    (ended,) = outcome.of(RunFinished)
    assert ended.duration_s > finished.duration_s > called.duration_s > 0


async def test_tokens_and_cost_of_a_steps_calls_are_added_up() -> None:
    answers = iter(["no number", "7"])

    async def answer(call: ModelCall) -> ModelReply:
        return ModelReply(next(answers), Usage(10, 2, 1), Decimal("0.01"), 0.5)

    text = document("", fields="n: int", nodes="- {id: a, prompt: 'go', outputs: [n]}")
    outcome = await run(text, model=Answering(answer))
    (finished,) = outcome.of(StepFinished)
    assert (finished.calls, finished.tokens_in, finished.tokens_out) == (2, 20, 4)
    assert finished.cost_usd == Decimal("0.02")
    assert [(c.tokens_in, c.tokens_cached, c.first_token_s) for c in outcome.of(ModelCalled)] == [(10, 1, 0.5)] * 2


async def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    answers = iter([ModelReply("x", Usage(10, 2), Decimal(1)), ModelReply("7", Usage(10, None), None)])

    async def answer(call: ModelCall) -> ModelReply:
        return next(answers)

    text = document("", fields="n: int", nodes="- {id: a, prompt: 'go', outputs: [n]}")
    (finished,) = (await run(text, model=Answering(answer))).of(StepFinished)
    assert (finished.tokens_in, finished.tokens_out, finished.cost_usd) == (20, None, None)


async def test_tokens_are_events_as_they_come_if_the_run_is_streamed() -> None:
    outcome = await run(document("a"), replies={"a": "one two three"}, stream=True)
    assert "".join(event.text for event in outcome.of(Token)) == "one two three"
    order = [type(event) for event in outcome.events]
    assert order.index(StepStarted) < order.index(Token) < order.index(ModelCalled)
    assert (await run(document("a"))).of(Token) == []


async def test_wrong_inputs_are_refused_before_anything_happens() -> None:
    events: list[Event] = []
    text = document("a", fields="n: {type: int, required: true}")
    with pytest.raises(InvalidInputs, match="n: missing"):
        await run_workflow(compiled(text), {}, run_id="r", model=ScriptedModel({}), emit=events.append)
    with pytest.raises(InvalidInputs, match="expected int"):
        await run_workflow(compiled(text), {"n": "1"}, run_id="r", model=ScriptedModel({}), emit=events.append)
    assert events == []


async def test_outputs_come_in_the_order_of_the_document() -> None:
    text = document(
        "z y x",
        """
        - {from: START, to: x}
        - {from: x, to: y}
        - {from: y, to: z}
        - {from: z, to: END}
        """,
    )
    assert list((await run(text)).result.outputs) == ["z", "y", "x"]


async def test_one_compiled_workflow_runs_many_times_at_once() -> None:
    graph = compiled(document("a b", fields="n: {type: int, required: true}", nodes=""))

    async def answer(call: ModelCall) -> str:
        await asyncio.sleep(0)
        return call.node

    async def one(n: int) -> object:
        result = await run_workflow(graph, {"n": n}, run_id=str(n), model=Answering(answer), emit=lambda event: None)
        return result.state["n"]

    assert await asyncio.gather(*(one(n) for n in range(50))) == list(range(50))


async def test_nothing_is_sent_to_a_tracing_service_although_the_program_around_it_traces() -> None:
    seen: list[bool | str] = []

    async def answer(call: ModelCall) -> str:
        seen.append(tracing_is_enabled())
        return "x"

    with tracing_context(enabled=True):
        await run(document("a"), model=Answering(answer))
        assert tracing_is_enabled()
    assert seen == [False]
