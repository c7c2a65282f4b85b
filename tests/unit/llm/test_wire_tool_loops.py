"""Whole loops over the wire: schemas go to each provider in its form, calls come back, results go with the next one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings, PromptNode
from flowyard.language.workflow import Workflow
from flowyard.llm.models import Models
from flowyard.runs.events import ToolCalled
from support.wire.behaviour import Text
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider
from support.workflows import document, run

NODE = "- {id: ask, prompt: What is it?, outputs: [answer], tools: [math.eval, text.split]}"
BOTH = (("math_eval", {"expression": "6 * 7"}), ("text_split", {"text": "one;two", "separator": ";"}))


def calling(settings: ModelSettings) -> Callable[[Workflow], Workflow]:
    def change(workflow: Workflow) -> Workflow:
        nodes = {name: replace(n, settings=settings) for name, n in workflow.nodes.items() if isinstance(n, PromptNode)}
        return replace(workflow, nodes=nodes)

    return change


def results_in(provider: Provider, body: Any) -> list[str]:
    """What is sent as results of tools, in order."""
    if provider is ANTHROPIC:
        last = body["messages"][-1]
        assert last["role"] == "user"
        return [_text(part["content"]) for part in last["content"] if part["type"] == "tool_result"]
    if provider is GOOGLE:
        parts = [part for content in body["contents"] for part in content["parts"]]
        return [json.dumps(part["function_response"]["response"]) for part in parts if "function_response" in part]
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_loop_goes_to_its_answer(provider: Provider, models: Models, *, stream: bool) -> None:
    script = [Text("", calls=BOTH), Text("", calls=BOTH[:1]), Text("42")]
    async with provider.serve(script) as server:
        change = calling(provider.settings(server))
        outcome = await run(document("", fields="answer: str", nodes=NODE), model=models, change=change, stream=stream)
    assert outcome.result.outputs == {"answer": "42"}, outcome.result.error
    assert [event.outcome for event in outcome.of(ToolCalled)] == ["ok"] * 3
    bodies = [request.body for request in server.requests]
    assert len(bodies) == 3
    for body in bodies:
        offered = json.dumps(body["tools"])
        assert all(part in offered for part in ("math_eval", "text_split", "expression", "separator"))
    second, third = (results_in(provider, body) for body in bodies[1:])
    assert len(second) == 2
    assert "42" in second[0]
    assert "one" in second[1]
    assert "two" in second[1]
    # Anthropic's last message has only the results of the last round.
    assert len(third) == (1 if provider is ANTHROPIC else 3)


async def test_an_answer_in_json_comes_after_the_tools(provider: Provider, models: Models) -> None:
    text = document("", fields="answer: int\nwhy: str", nodes=NODE.replace("[answer]", "[answer, why]"))
    async with provider.serve([Text("", calls=BOTH[:1]), Text('{"answer": 42, "why": "so"}')]) as server:
        outcome = await run(text, model=models, change=calling(provider.settings(server)))
    assert outcome.result.outputs == {"answer": 42, "why": "so"}, outcome.result.error
    first = server.requests[0].body
    if provider is OPENAI:
        assert first["response_format"]["type"] == "json_schema"
    if provider is DIRECT:
        # Servers that bind the reply to a schema leave the model no way to call tools.
        assert "response_format" not in first
    if provider is OLLAMA:
        assert "format" not in first
    if provider is GOOGLE:
        assert "response_schema" not in json.dumps(first)
        assert "responseSchema" not in json.dumps(first)
    if provider is ANTHROPIC:
        assert "json_tool_call" not in json.dumps(first)
        assert "output_format" not in first
