"""A model that calls tools, and nodes that call one themselves: in memory, with replies that a test writes down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from flowyard.errors.steps import ModelNeverRan
from flowyard.language.tools import ToolFacts
from flowyard.llm.calls import ModelCall, ModelReply, ToolCall, Usage
from flowyard.runs.events import ModelCalled, RetryScheduled, StepFailed, ToolCalled, ToolProgressed
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.tool import Tool, ToolContext, ToolFailed
from support.workflows import Answering, Outcome, document, run

ANYTHING = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}


class Counting:
    """A tool that keeps the arguments and keys of its calls. It fails for odd numbers, if `fails`."""

    def __init__(self, *, fails: bool = False, result: Any = None, name: str = "test.count") -> None:
        self.calls: list[tuple[int, str]] = []
        self.at_once = self.most_at_once = 0
        self._fails, self._result = fails, result
        self.tool = Tool(ToolFacts(name=name, description="Counts.", parameters=ANYTHING), self._run)

    async def _run(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        number = arguments.get("n", 0)
        self.calls.append((number, context.key))
        if self._fails and number % 2:
            raise ToolFailed(f"{number} is odd")
        return self._result if self._result is not None else {"n": number}


def node_with(options: str = "", *, fields: str = "answer: str", tools: str = "[test.count]") -> str:
    return document("", fields=fields, nodes=f"- {{id: ask, prompt: go, outputs: [answer], tools: {tools}{options}}}")


def calling(*numbers: int, name: str = "test.count") -> dict[str, Any]:
    """A canned reply."""
    return {"tool_calls": [{"id": f"c{n}", "name": name, "arguments": {"n": n}} for n in numbers]}


async def ran(text: str, *replies: Any, tool: Counting | None = None, **about: Any) -> Outcome:
    tools = ToolRegistry((*built_in(), *([tool.tool] if tool is not None else [])))
    return await run(text, replies={"ask": list(replies)} if replies else None, tools=tools, **about)


async def test_calls_are_made_and_their_results_go_into_the_next_request() -> None:
    tool = Counting()
    outcome = await ran(node_with(), calling(2, 4), calling(6), "done", tool=tool)
    assert outcome.result.outputs == {"answer": "done"}
    # Those of one reply are made together.
    assert [{2, 4}, {6}] == [{n for n, _ in tool.calls[:2]}, {n for n, _ in tool.calls[2:]}]
    first, second, third = outcome.calls
    assert first.offer is not None
    assert first.offer.tools == (
        {"type": "function", "function": {"name": "test_count", "description": "Counts.", "parameters": ANYTHING}},
    )
    assert [message.role for message in first.messages] == ["user"]
    assert [(m.role, m.text, m.tool_call_id) for m in second.messages[1:]] == [
        ("assistant", "", None),
        ("tool", '{"n": 2}', "c2"),
        ("tool", '{"n": 4}', "c4"),
    ]
    assert [call.id for call in second.messages[1].tool_calls] == ["c2", "c4"]
    assert [message.role for message in third.messages[4:]] == ["assistant", "tool"]
    assert [event.outcome for event in outcome.of(ToolCalled)] == ["ok"] * 3


async def test_progress_of_a_call_is_an_event() -> None:
    async def report(_: Any, context: ToolContext) -> str:
        context.on_progress(1, 2, "half")
        return "all"

    tool = Tool(ToolFacts(name="test.count", description="Counts.", parameters=ANYTHING), report)
    outcome = await run(node_with(), replies={"ask": [calling(2), "done"]}, tools=ToolRegistry([tool]))
    [event] = outcome.of(ToolProgressed)
    assert (event.tool, event.question, event.call, event.done, event.total, event.text) == (
        "test.count", 0, 0, 1, 2, "half",
    )  # fmt: skip


async def test_no_two_effects_of_a_run_have_the_same_key() -> None:
    """Items of a map, corrections, retries and rounds."""
    tool = Counting()
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: words, target_node: ask, collect_field: answers}}
        - {from: ask, to: END}
        """,
        fields="words: {type: 'list[str]', default: [a, b, c]}\nanswers: 'list[int]'",
        nodes="- {id: ask, prompt: '{item}', outputs: [answers], tools: [test.count], retry: {max_retries: 5}}",
    )
    left = {word: ["call", "no number", "fail", "call", "call", "7"] for word in "abc"}

    async def answer(call: ModelCall) -> str | ModelReply:
        step = left[call.messages[0].text[0]].pop(0)
        if step == "fail":
            raise ModelNeverRan("down", provider="openai", model="m")
        if step != "call":
            return step
        calls = tuple(ToolCall(f"c{n}", "test_count", f'{{"n": {n}}}') for n in range(3))
        return ModelReply("", Usage(), None, tool_calls=calls)

    outcome = await ran(text, tool=tool, model=Answering(answer))
    assert outcome.result.outputs == {"answers": [7, 7, 7]}
    keys = [key for _, key in tool.calls]
    assert len(keys) == 27
    assert len(set(keys)) == 27
    assert "run-1:ask:1.0/0.0" in keys
    assert all("/" in key for key in keys)
    assert not set(keys) & {call.key for call in outcome.calls}


async def test_an_answer_that_does_not_fit_is_corrected_after_the_results() -> None:
    outcome = await ran(node_with(fields="answer: int"), calling(2), "seven", "7", tool=Counting())
    assert outcome.result.outputs == {"answer": 7}
    assert [message.role for message in outcome.calls[2].messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert len(outcome.of(RetryScheduled)) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"name": "test.cuont", "arguments": {}}, "no tool 'test.cuont' (did you mean 'test.count'?)"),
        ({"name": "test.count", "arguments": {"m": 1}}, "no argument 'm'"),
        ({"name": "test_count", "arguments": {"n": "two"}}, "n: 'two' is not of type 'integer'"),
        ({"name": "test_count", "arguments": {"n": 3}}, "3 is odd"),
    ],
)
async def test_a_wrong_call_and_a_failure_go_back_to_the_model(call: dict[str, Any], error: str) -> None:
    outcome = await ran(node_with(), {"tool_calls": [call]}, "sorry", tool=Counting(fails=True))
    assert outcome.result.outputs == {"answer": "sorry"}
    assert error in outcome.calls[1].messages[-1].text
    assert [event.outcome == "ok" for event in outcome.of(ToolCalled)] == [False]


async def test_arguments_that_are_no_json_are_sent_back_as_an_object() -> None:
    called_badly = ModelReply("", Usage(), None, tool_calls=(ToolCall("c", "test_count", "{n: 1"),))
    answers: list[str | ModelReply] = [called_badly, "done"]

    async def answer(_: ModelCall) -> str | ModelReply:
        return answers.pop(0)

    outcome = await ran(node_with(), tool=Counting(), model=Answering(answer))
    called, result = outcome.calls[1].messages[1:]
    assert called.tool_calls[0].arguments == "{}"
    assert "the arguments are no JSON" in result.text


async def test_a_document_can_let_a_failure_of_a_tool_fail_the_step() -> None:
    outcome = await ran(node_with(", on_tool_error: fail"), calling(2, 3), tool=Counting(fails=True))
    assert outcome.result.error is not None
    assert (outcome.result.error.code, outcome.result.error.message) == ("tool_error", "test.count: 3 is odd")


async def test_rounds_are_limited() -> None:
    tool = Counting()
    outcome = await ran(node_with(", max_tool_rounds: 2"), calling(2), calling(4), calling(6), tool=tool)
    assert outcome.result.error is not None
    assert outcome.result.error.code == "too_many_tool_rounds"
    assert [number for number, _ in tool.calls] == [2, 4]


async def test_the_budget_holds_across_rounds() -> None:
    text = node_with().replace("config:", "config:\n  budget: {model_calls: 2}")
    outcome = await ran(text, calling(2), calling(4), "done", tool=Counting())
    assert outcome.result.error is not None
    assert outcome.result.error.code == "budget_exceeded"
    assert len(outcome.calls) == 2


async def test_the_timeout_holds_across_rounds() -> None:
    async def hang(arguments: Mapping[str, Any], context: ToolContext) -> Any:
        del arguments, context
        await asyncio.Event().wait()

    tool = Tool(ToolFacts(name="test.count", description="Hangs.", parameters=ANYTHING), hang)
    outcome = await run(node_with(", timeout: 0.05"), replies={"ask": [calling(2), "done"]}, tools=ToolRegistry([tool]))
    assert outcome.result.error is not None
    assert outcome.result.error.code == "timeout"


async def test_calls_of_one_reply_are_made_together_but_not_too_many() -> None:
    tool = Counting()
    await ran(node_with(), calling(*range(20)), "done", tool=tool)
    assert len(tool.calls) == 20
    assert tool.most_at_once == 8


async def test_secrets_reach_no_tool_and_nothing_that_is_recorded() -> None:
    tool = Counting(name="test.echo", result={"echo": "my sesame"})
    text = document(
        "",
        fields="answer: str\nkey: {type: str, required: true, secret: true}",
        nodes="- {id: ask, prompt: 'use {key}', outputs: [answer], tools: [test.echo]}",
    )
    first = {"tool_calls": [{"name": "test.echo", "arguments": {"sesame": "open sesame"}}], "text": "with sesame"}
    outcome = await ran(
        text, first, {"tool_calls": [{"name": "test.echo"}]}, "it is sesame", inputs={"key": "sesame"}, tool=tool
    )
    assert outcome.result.outputs == {"answer": "it is ***"}
    kept = [event.result for event in outcome.of(ModelCalled)] + [event.result for event in outcome.of(ToolCalled)]
    assert [text for text in kept if text is not None and "sesame" in text] == []
    assert kept.count(None) == 1
    assert "sesame" not in json.dumps([message.text for message in outcome.calls[2].messages[1:]])


async def test_a_long_result_is_cut_for_the_model_and_kept_whole() -> None:
    outcome = await ran(node_with(), calling(2), "done", tool=Counting(result="x" * 30_000))
    shown = outcome.calls[1].messages[-1].text
    assert shown == "x" * 20_000 + "\n[cut: 10,000 of 30,000 characters are left out]"
    assert json.loads(outcome.of(ToolCalled)[0].result or "") == {"value": "x" * 30_000}


async def test_the_results_of_a_step_are_bounded_together() -> None:
    outcome = await ran(
        node_with(", max_tool_rounds: 20"), calling(*range(20)), "done", tool=Counting(result="x" * 900_000)
    )
    assert [event.outcome for event in outcome.of(ToolCalled)] == ["ok"] * 17 + ["failed"] * 3
    assert "more than 16,000,000 characters" in outcome.calls[1].messages[-1].text
    assert outcome.result.outputs == {"answer": "done"}


async def test_a_name_that_no_row_can_have_is_replaced() -> None:
    outcome = await ran(node_with(), {"tool_calls": [{"name": "a\x00b\ud800"}]}, "done", tool=Counting())
    assert [event.tool for event in outcome.of(ToolCalled)] == ["a?b?"]


def tool_node(options: str, *, fields: str = "found: any", tool: str = "test.count") -> str:
    node = f"- {{id: find, tool: {tool}{options}}}"
    return document("", fields=f"{fields}\nnumber: {{type: int, default: 4}}", nodes=node)


async def test_a_tool_node_calls_its_tool_without_a_model() -> None:
    tool = Counting()
    outcome = await ran(tool_node(", with: {n: {expr: number + 2}}, outputs: [found]"), tool=tool)
    assert outcome.result.outputs == {"found": {"n": 6}}
    assert tool.calls == [(6, "run-1:find:1/0.0")]
    assert outcome.calls == []


@pytest.mark.parametrize(
    ("expression", "found"), [("'{number}'", {"n": 4}), ("8", {"n": 8})], ids=["template", "value"]
)
async def test_arguments_are_templates_and_values(expression: str, found: object) -> None:
    outcome = await ran(tool_node(f", with: {{n: {expression}}}, outputs: [found]"), tool=Counting())
    assert outcome.result.outputs == {"found": found}


async def test_several_outputs_take_the_values_of_an_object() -> None:
    text = tool_node(", outputs: [a, b]", fields="a: int\nb: str")
    outcome = await ran(text, tool=Counting(result={"a": 1, "b": "x", "c": 2}))
    assert outcome.result.outputs == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("fields", "options", "result", "code"),
    [
        ("found: str", ", outputs: [found]", 7, "expression_error"),
        ("a: int\nb: int", ", outputs: [a, b]", [1, 2], "expression_error"),
        ("found: any", ", with: {n: x}, outputs: [found]", 1, "tool_error"),
    ],
)
async def test_a_result_or_argument_that_does_not_fit_fails_the_step(
    fields: str, options: str, result: object, code: str
) -> None:
    outcome = await ran(tool_node(options, fields=fields), tool=Counting(result=result))
    assert [event.error.code for event in outcome.of(StepFailed)] == [code]


async def test_a_tool_node_that_fails_is_retried_under_another_key() -> None:
    tool = Counting(fails=True)
    options = ", with: {n: 3}, outputs: [found], retry: {max_retries: 2, errors: [tool_error]}"
    outcome = await ran(tool_node(options), tool=tool)
    assert [key for _, key in tool.calls] == ["run-1:find:1/0.0", "run-1:find:1/1.0", "run-1:find:1/2.0"]
    assert [event.error.code for event in outcome.of(StepFailed)] == ["tool_error"]


async def test_a_built_in_tool_answers() -> None:
    text = document(
        "", fields="found: any", nodes="- {id: find, tool: math.eval, with: {expression: 6 * 7}, outputs: [found]}"
    )
    assert (await run(text)).result.outputs == {"found": 42}
