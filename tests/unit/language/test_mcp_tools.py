"""Which workflows can be tools of MCP, and which of their nodes prompts."""

from __future__ import annotations

import pytest

from flowyard.language.load import load_text
from flowyard.language.mapping import Event, map_event
from flowyard.language.triggers import Mcp

DOCUMENT = """
flow: {name: NAME}
state:
  fields:
    topic: {type: str, required: true}
    code: {type: str, required: true, secret: true}
    messages: {type: 'list[message]', default: []}
    poem: str
nodes:
  - {id: write, prompt: "About {topic}", outputs: [poem]}
  - {id: open, prompt: "By {code}", outputs: [poem]}
  - {id: talk, history: messages, outputs: [poem]}
  - {id: check, assert: poem != '', message: no poem}
triggers:
  tool: {mcp: MCP, REST}
"""


def problems_of(mcp: str = "{}", rest: str = "enabled: true", name: str = "x", more: str = "") -> list[str]:
    text = DOCUMENT.replace("NAME", name).replace("MCP", mcp).replace("REST", rest) + more
    return [problem.render("f.yaml") for problem in load_text(text, "f.yaml").problems]


def test_a_document_has_its_tool_with_what_it_says() -> None:
    text = DOCUMENT.replace("NAME", "x").replace("REST", "description: Writes.")
    loaded = load_text(text.replace("MCP", "{title: Poet, prompts: [write, write], read_only: true}"), "f.yaml")
    assert loaded.workflow is not None, loaded.problems
    trigger = loaded.workflow.triggers["tool"]
    assert (trigger.source, trigger.description) == (Mcp("Poet", ("write",), read_only=True), "Writes.")
    assert map_event(trigger, Event(payload={"topic": "rain"})) == {"topic": "rain"}
    assert map_event(trigger, Event(payload="rain")) == {}


@pytest.mark.parametrize(
    ("mcp", "rest", "place", "words"),
    [
        ("{prompts: [wriet]}", "enabled: true", "15:26", "no node 'wriet'"),
        ("{prompts: [check]}", "enabled: true", "15:26", "no prompt node 'check'"),
        ("{prompts: [open]}", "enabled: true", "15:26", "'open' names the secret 'code'"),
        ("{prompts: [talk]}", "enabled: true", "15:26", "'talk' has a conversation before its prompt"),
        ("{}", "inputs: {topic: rain}", "15:19", "'inputs' has no meaning here"),
        ("{}", "when: 'true'", "15:19", "'when' has no meaning here"),
        ("{}", "reply: hello", "15:19", "'reply' has no meaning here"),
        ("{titel: Poet}", "enabled: true", "15:16", "did you mean 'title'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(mcp: str, rest: str, place: str, words: str) -> None:
    [problem] = problems_of(mcp, rest)
    assert (problem.startswith(f"f.yaml:{place}: "), words in problem) == (True, True), problem


@pytest.mark.parametrize("name", ["two words", "größe", "a:b"])
def test_a_name_that_clients_refuse_is_no_name_of_a_tool(name: str) -> None:
    [problem] = problems_of(name=f"'{name}'")
    assert "can't be the name of a tool" in problem


def test_a_workflow_is_one_tool() -> None:
    [problem] = problems_of(more="  other: {mcp: {}}\n")
    assert "the trigger 'tool' is of kind mcp, too" in problem
