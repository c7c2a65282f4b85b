"""Tools that a caller offers to the model that answers, and executes itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from flowyard.errors.requests import InvalidInputs
from flowyard.graph.compile import compile_workflow
from flowyard.graph.fit import fit
from flowyard.language.building.caller_tools import allow_caller_tools
from flowyard.language.canned import read_reply
from flowyard.language.inputs import check_inputs, valid_inputs
from flowyard.language.nodes import CALLER
from flowyard.language.reading.source import read_tree
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.workflow import Workflow
from flowyard.llm.calls import ModelCall, ModelReply, ToolCall, ToolOffer, Usage
from flowyard.llm.scripted import ScriptedModel
from flowyard.llm.terms import FREE, Terms
from flowyard.runs.events import ModelCalled
from flowyard.steps.token_bounds import prompt_bound
from support.recording import Recording, play
from support.workflows import Answering, Outcome, document, load, run

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HELLO = {"role": "user", "content": "Weather in Oslo?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
CALLS = {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}


def chat(reply: str = "message", options: str = "", config: str = "") -> str:
    fields = f"messages: {{type: 'list[message]', required: true}}\nreply: {reply}"
    nodes = f"- {{id: a, history: messages, outputs: [reply]{options}}}"
    return document("", fields=fields, nodes=nodes, config=config)


def allowed(workflow: Workflow) -> Workflow:
    changed, problems = _allowed(workflow, "a")
    assert problems == []
    return changed


def _allowed(workflow: Workflow, answer: str) -> tuple[Workflow, list[str]]:
    source = SourceDocument(read_tree("triggers: {talk: {chat: {caller_tools: true}}}").root)
    fields, nodes = dict(workflow.fields), dict(workflow.nodes)
    allow_caller_tools(source, fields, nodes, answer, ("triggers", "talk", "chat", "caller_tools"))
    return replace(workflow, fields=fields, nodes=nodes), [problem.render("x") for problem in source.problems]


async def ask(offer: Any, reply: Any = CALLS, text: str | None = None, **options: Any) -> Outcome:
    inputs = {"messages": [HELLO], **({CALLER: offer} if offer is not ... else {})}
    return await run(text or chat(), inputs, {"a": reply}, change=allowed, **options)


async def test_the_model_gets_the_tools_and_its_calls_are_the_output() -> None:
    outcome = await ask({"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False})
    assert outcome.calls[0].offer == ToolOffer((TOOL,), "auto", parallel=False)
    assert outcome.result.outputs == {"reply": {"role": "assistant", "content": None, "tool_calls": [CALL]}}
    assert outcome.of(ModelCalled)[0].finish_reason == "tool_calls"


async def test_a_text_may_stand_with_the_calls_and_is_streamed() -> None:
    outcome = await ask({"tools": [TOOL]}, {**CALLS, "text": "Let me look."}, stream=True, log_prompts=True)
    assert outcome.result.outputs["reply"]["content"] == "Let me look."
    assert outcome.result.outputs["reply"]["tool_calls"] == [CALL]
    called = outcome.of(ModelCalled)[0]
    assert (called.reply, called.streamed) == ('Let me look.\n[calls weather {"city": "Oslo"}]', True)


@pytest.mark.parametrize("offer", [..., None, {}, {"tools": None}, {"tools": [], "tool_choice": "none"}])
async def test_without_tools_nothing_is_offered(offer: Any) -> None:
    outcome = await ask(offer, "Rain.")
    assert outcome.calls[0].offer is None
    assert outcome.result.outputs["reply"]["content"] == "Rain."


async def test_each_try_offers_the_same() -> None:
    outcome = await ask({"tools": [TOOL]}, [{"error": "timeout"}, "", CALLS])
    assert [call.offer for call in outcome.calls] == [ToolOffer((TOOL,))] * 3
    assert outcome.result.status == "succeeded"


async def test_what_a_caller_offers_is_checked() -> None:
    for given, fault in (
        ("x", "_caller: expected object, got str 'x'"),
        ({"tools": {"a": 1}}, r"_caller\.tools: expected list\[object\]"),
        ({"tools": ["weather"]}, r"_caller\.tools\[0\]: expected object, got str"),
        ({"tools": [{"type": "function"}]}, r"_caller\.tools\[0\]\.function: missing"),
        ({"tools": [{"type": "function", "function": {}}]}, r"_caller\.tools\[0\]\.function\.name: missing"),
        ({"tools": [{"type": "web_search"}]}, r"_caller\.tools\[0\]\.type: 'web_search' isn't one of its values"),
        ({"tools": [{**TOOL, "googleSearch": {}}]}, r"_caller\.tools\[0\]\.googleSearch: no such field"),
        ({"tols": []}, r"_caller\.tols: no such field \(did you mean 'tools'\?\)"),
        ({"parallel_tool_calls": 1}, r"_caller\.parallel_tool_calls: expected bool"),
    ):
        with pytest.raises(InvalidInputs, match=fault):
            await ask(given)


async def test_a_workflow_that_does_not_allow_it_knows_no_such_input() -> None:
    with pytest.raises(InvalidInputs, match="_caller: isn't known"):
        await run(chat(), {"messages": [HELLO], CALLER: {"tools": [TOOL]}}, {"a": "x"})


def test_nobody_is_asked_for_the_input() -> None:
    workflow = allowed(load(chat()))
    assert list(workflow.inputs) == ["messages"]
    assert workflow.fields[CALLER].is_input
    _, faults = check_inputs(workflow.fields, {"messages": [], "caller": 1})
    assert [fault.message for fault in faults] == ["caller: isn't known (inputs: messages)"]


def test_an_answer_that_is_no_message_is_reported() -> None:
    for kind in ("str", "object", "list[message]"):
        changed, problems = _allowed(load(chat(kind)), "a")
        hint = "(declare 'reply' as message) [type-mismatch]"
        assert problems == [f"x:1:40: 'a' can't hand out calls of tools: its answer is no message {hint}"]
        assert CALLER in changed.fields


def test_a_field_of_that_name_is_reported() -> None:
    taken = load(chat().replace("reply: message", "reply: message\n    _caller: {type: str, default: x}"))
    _, problems = _allowed(taken, "a")
    assert [problem.partition(": ")[2] for problem in problems] == [
        "'_caller' is the input with the tools of callers (choose another name) [reserved-name]"
    ]


async def test_a_text_output_takes_no_calls() -> None:
    outcome = await run(chat("str", ", retry: 0"), {"messages": [HELLO]}, {"a": CALLS})
    assert outcome.result.error is not None
    assert (outcome.result.error.code, outcome.result.error.message) == (
        "invalid_output",
        "the reply has no text: it calls tools",
    )


async def test_a_budget_counts_the_tools() -> None:
    async def terms(_: ModelCall, __: int) -> Terms:
        return Terms(FREE)

    async def cost(offer: Any) -> int:
        return prompt_bound((await ask(offer, "Rain.")).calls[0])

    large = {"tools": [{"type": "function", "function": {"name": "f", "description": "x" * 5000}}]}
    assert await cost(large) - await cost({}) > 5000
    outcome = await ask(large, text=chat(config="budget: {tokens: 2000}"), terms=terms)
    assert outcome.result.error is not None
    assert outcome.result.error.code == "budget_exceeded"


async def test_a_secret_is_masked_in_the_calls() -> None:
    text = document(
        "",
        fields="""
        messages: {type: 'list[message]', required: true}
        key: {type: str, required: true, secret: true}
        reply: message
        """,
        nodes="- {id: a, history: messages, system: 'Use {key}', outputs: [reply]}",
    )

    async def answer(_: ModelCall) -> ModelReply:
        calls = (ToolCall("c", "weather", json.dumps({"city": "sesame-1"})),)
        return ModelReply("", Usage(), None, tool_calls=calls)

    inputs = {"messages": [HELLO], "key": "sesame-1", CALLER: {"tools": [TOOL]}}
    outcome = await run(text, inputs, model=Answering(answer), change=allowed)
    [call] = outcome.result.outputs["reply"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "***"}'}


@pytest.mark.parametrize(
    ("offer", "kept"),
    [
        ({"tools": [TOOL]}, {"a"}),
        ({"tools": []}, set()),
        (None, set()),
        ({"tools": [TOOL], "tool_choice": "none"}, set()),
    ],
)
async def test_a_fork_keeps_the_answer_only_if_the_tools_are_the_same(offer: Any, kept: set[str]) -> None:
    workflow = allowed(load(chat()))
    inputs: dict[str, Any] = {"messages": [HELLO], CALLER: {"tools": [TOOL]}}
    recording = Recording()
    await play(compile_workflow(workflow), recording, ScriptedModel({"a": "Rain."}), inputs=inputs)
    old, new = (workflow, valid_inputs(workflow, inputs)), (workflow, valid_inputs(workflow, {**inputs, CALLER: offer}))
    fits = fit(old, new, dict(recording.steps))
    assert {step.node for step in fits.kept if step.kind == "step"} == kept


@pytest.mark.parametrize("field", ["messages", "other"])
async def test_a_fork_with_another_conversation_answers_again(field: str) -> None:
    text = chat().replace("required: true}", "required: true}\n    other: {type: int, default: 1}", 1)
    workflow = load(text)
    inputs: dict[str, Any] = {"messages": [HELLO]}
    recording = Recording()
    await play(compile_workflow(workflow), recording, ScriptedModel({"a": "Rain."}), inputs=inputs)
    changed = {**inputs, "messages": [{**HELLO, "content": "Snow?"}]} if field == "messages" else {**inputs, "other": 2}
    fits = fit(
        (workflow, valid_inputs(workflow, inputs)), (workflow, valid_inputs(workflow, changed)), dict(recording.steps)
    )
    assert {step.node for step in fits.kept if step.kind == "step"} == (set() if field == "messages" else {"a"})


async def test_an_answer_with_calls_is_replayed_as_it_was() -> None:
    graph, recording = compile_workflow(allowed(load(chat()))), Recording()
    inputs = {"messages": [HELLO], CALLER: {"tools": [TOOL]}}
    first = await play(graph, recording, ScriptedModel({"a": read_reply(CALLS)}), inputs=inputs)
    again = await play(graph, Recording(dict(recording.steps)), ScriptedModel({}), inputs=inputs)
    assert again.status == first.status == "succeeded"
    assert again.outputs == first.outputs == {"reply": {"role": "assistant", "content": None, "tool_calls": [CALL]}}
