"""Code nodes in documents that the command line runs itself, with real workers of the sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.graph.compile import compile_workflow
from flowyard.graph.run import RunResult, run_workflow
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.events import CodePrinted, Event, StepId
from flowyard.runs.summary import RunSummary
from flowyard_cli.code import open_code
from support.workflows import document, load

FIELDS = "topic: {type: str, required: true}\nn: {type: int, default: 2}\n"


async def run_code(node: str, fields: str, **inputs: Any) -> tuple[RunResult, RunSummary]:
    workflow = load(document("", fields=FIELDS + fields, nodes=f"- {{id: a, {node}}}"))
    summary = RunSummary()
    async with open_code(workflow) as execute:
        result = await run_workflow(
            compile_workflow(workflow),
            {"topic": "rain", **inputs},
            run_id="run",
            model=ScriptedModel({}),
            emit=lambda event: summary.add(event, 0.0),
            run_code=execute,
        )
    return result, summary


@pytest.mark.parametrize("tier", ["fast", "full"])
@pytest.mark.parametrize(
    ("node", "fields", "expected"),
    [
        ("outputs: [x], code: 'result = topic * n'", "x: str", {"x": "rainrain"}),
        ("outputs: [x], code: 'result = inputs', inputs: {a: '{n}', b: [1, {c: '{topic}'}]}", "x: dict",
         {"x": {"a": 2, "b": [1, {"c": "rain"}]}}),
        ("outputs: [x, y], code: 'result = {\"x\": 1, \"y\": [topic], \"z\": 0}'", "x: float\ny: 'list[str]'",
         {"x": 1.0, "y": ["rain"]}),
        ("outputs: [x], code: 'result = {\"x\": 1}'", "x: int", {"x": 1}),
        ("outputs: [x], code: 'result = {\"x\": 1}'", "x: dict", {"x": {"x": 1}}),
        ("outputs: [x], code: 'result = None'", "x: int | null", {"x": None}),
    ],
)  # fmt: skip
async def test_code_fills_the_outputs(node: str, fields: str, expected: dict[str, Any], tier: str) -> None:
    result, _ = await run_code(f"sandbox: {{tier: {tier}}}, {node}", fields)
    assert result.outputs == expected


@pytest.mark.parametrize(
    ("node", "code", "message"),
    [
        ("outputs: [x], code: 'result = 1 / 0'", "code_failed", "line 1: ZeroDivisionError: division by zero"),
        ("outputs: [x], code: 'result = topic'", "code_failed", "result: expected int, got str 'rain'"),
        ("outputs: [x, y], code: 'result = 1'", "code_failed", "result must be a dict with the keys x, y"),
        ("outputs: [x], sandbox: {timeout: 1}, code: \"while True: result = 1\"", "code_timeout", "longer than 1 s"),
        ("outputs: [x], sandbox: {memory_mb: 16}, code: \"result = 'x' * 10**9\"", "code_memory", "more than 16 MB"),
        ("outputs: [x], code: \"result = 'x' * 10**6\"", "code_failed", "the result has 1,000,002 bytes"),
    ],
)  # fmt: skip
async def test_a_step_fails_with_what_was_wrong(node: str, code: str, message: str) -> None:
    result, summary = await run_code(f"{node}, retry: 0", "x: int\ny: int")
    assert result.status == "failed"
    assert summary.error is not None
    assert summary.error.code == code
    assert message in summary.error.message


@pytest.mark.parametrize("code", ["print(topic)\nresult = 1", "print(topic)\n1 / 0\nresult = 1"])
async def test_what_code_prints_is_an_event_also_if_it_fails(code: str) -> None:
    workflow = load(
        document("", fields=FIELDS + "x: int", nodes=f"- {{id: a, outputs: [x], code: {json.dumps(code)}}}")
    )
    events: list[Event] = []
    async with open_code(workflow) as execute:
        await run_workflow(
            compile_workflow(workflow),
            {"topic": "rain"},
            run_id="run",
            model=ScriptedModel({}),
            emit=events.append,
            run_code=execute,
        )
    assert [event for event in events if isinstance(event, CodePrinted)] == [CodePrinted(StepId("a", 1), "rain\n")]


async def test_inputs_that_are_too_large_for_a_sandbox_are_a_failure() -> None:
    result, summary = await run_code("outputs: [x], code: result = len(topic)", "x: int", topic="x" * 800_000)
    assert result.status == "failed"
    assert summary.error is not None
    assert "more than 786,432" in summary.error.message


async def test_where_nothing_executes_code_a_step_fails() -> None:
    workflow = load(document("", fields=FIELDS + "x: int", nodes="- {id: a, outputs: [x], code: result = 1, retry: 0}"))
    summary = RunSummary()
    await run_workflow(
        compile_workflow(workflow),
        {"topic": "rain"},
        run_id="run",
        model=ScriptedModel({}),
        emit=lambda event: summary.add(event, 0.0),
    )
    assert summary.error is not None
    assert summary.error.code == "sandbox_unavailable"
