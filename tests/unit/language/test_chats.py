"""Which input has the conversation, which node answers, and when its tokens may be sent."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.language.load import load_text
from flowyard.language.mapping import Event, map_request
from flowyard.language.nodes import CALLER, PromptNode
from flowyard.language.triggers import Chat, Trigger
from flowyard.language.workflow import Workflow
from support.documents import ROOT, load_file

FIELDS = """
flow: {name: x}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    language: {type: str, default: en}
    topic: {type: str | null, default: null}
    good: bool
    reply: KIND
"""
NODES = """
nodes:
  - {id: plan, prompt: "{language} {topic}", outputs: [good]}
  - {id: answer, history: messages, outputs: [reply]}
  - {id: refuse, set: {reply: OTHER}}
"""
ROUTES = """
edges:
  - {from: START, to: plan}
  - {from: plan, routes: [{if: good, to: answer}, {default: refuse}]}
  - {from: [answer, refuse], to: END}
"""
LOOP = """
edges:
  - {from: START, to: refuse}
  - {from: refuse, to: plan}
  - {from: plan, to: answer}
  - {from: answer, loop: {to: plan, until: good, max_iterations: 3, exit_to: END}}
"""
AFTER = """
edges:
  - {from: START, to: plan}
  - {from: plan, to: answer}
  - {from: answer, to: refuse}
  - {from: refuse, to: END}
"""


def text_of(rest: str, chat: str = "{}", *, kind: str = "str", other: str = "sorry", inputs: str = "{}") -> str:
    head = (FIELDS + NODES).replace("KIND", kind).replace("OTHER", other)
    return f"{head}{rest}\ntriggers:\n  t:\n    chat: {chat}\n    inputs: {inputs}\n"


def workflow_of(*given: str, **more: str) -> Workflow:
    loaded = load_text(text_of(*given, **more), "f.yaml")
    assert loaded.workflow is not None, [problem.render("f.yaml") for problem in loaded.problems]
    return loaded.workflow


def chat_of(*given: str, **more: str) -> Chat:
    source = workflow_of(*given, **more).triggers["t"].source
    assert isinstance(source, Chat)
    return source


def trigger_of(inputs: str) -> Trigger:
    return workflow_of(ROUTES, inputs=inputs).triggers["t"]


def test_a_document_has_its_chat_with_what_it_says() -> None:
    workflow = load_file(ROOT / "tests" / "data" / "good" / "chat_trigger.yaml").workflow
    assert workflow is not None
    assert workflow.triggers["talk"].source == Chat(
        messages="messages",
        answer="answer",
        output="reply",
        is_live=False,
        show_steps=True,
        concurrent="reject",
        on_disconnect="cancel",
        background="refuse",
    )


def test_what_is_left_out_is_the_only_input_and_the_only_node_that_fit() -> None:
    assert chat_of(ROUTES) == Chat(messages="messages", answer="answer", output="reply")


def test_a_message_is_an_answer_too() -> None:
    assert chat_of(ROUTES, kind="message", other="{role: assistant, content: sorry}").output == "reply"


def test_a_model_gets_the_tools_of_callers_only_if_its_document_says_so() -> None:
    for chat, allowed in (("{caller_tools: true}", True), ("{}", False)):
        workflow = workflow_of(ROUTES, chat, kind="message", other="{role: assistant, content: sorry}")
        node = workflow.nodes["answer"]
        assert isinstance(node, PromptNode)
        assert (node.caller_tools, CALLER in workflow.fields, CALLER in workflow.inputs) == (allowed, allowed, False)


def test_an_answer_that_is_a_text_can_not_hand_out_calls_of_tools() -> None:
    problems = load_text(text_of(ROUTES, "{caller_tools: true}"), "f.yaml").errors
    assert [(problem.code, problem.suggestion) for problem in problems] == [
        ("type-mismatch", "declare 'reply' as message")
    ]


@pytest.mark.parametrize(
    ("edges", "chat", "kind", "is_live"),
    [
        (ROUTES, "{}", "str", True),
        (ROUTES, "{stream: whole}", "str", False),
        (LOOP, "{}", "str", False),
        (AFTER, "{}", "str", False),
        (ROUTES, "{}", "{type: str, pattern: s.+}", False),
        (ROUTES, "{}", "\"'yes' | 'sorry'\"", False),
    ],
    ids=["alternative", "whole", "loop", "written after it", "limits", "choice"],
)
def test_tokens_are_sent_only_if_nothing_can_replace_the_reply(
    edges: str, chat: str, kind: str, *, is_live: bool
) -> None:
    assert chat_of(edges, chat, kind=kind).is_live is is_live


@pytest.mark.parametrize(("edges", "is_last"), [(ROUTES, True), (LOOP, False), (AFTER, False)])
def test_whether_a_node_comes_after_the_answer_is_known(edges: str, *, is_last: bool) -> None:
    assert chat_of(edges).is_last is is_last


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"metadata": {"language": "de"}, "user": "u"}, {"language": "de", "topic": "u"}),
        ({"user": "u"}, {"topic": "u"}),
        ({}, {}),
    ],
)
def test_an_input_that_a_request_lacks_keeps_its_default(request_: dict[str, Any], expected: dict[str, Any]) -> None:
    chosen = trigger_of("{language: '{request.metadata.language}', topic: '{request.user}'}")
    assert map_request(chosen, Event(request=request_), {"language", "topic"}) == expected


def test_an_input_that_has_to_be_there_is_an_error() -> None:
    chosen = trigger_of("{language: '{request.metadata.language}'}")
    with pytest.raises(EvaluationError, match="metadata"):
        map_request(chosen, Event(request={}), set())


def test_texts_of_a_chat_know_the_request_and_its_headers() -> None:
    chosen = trigger_of("{language: '{headers[\"accept-language\"]}'}")
    event = Event(headers={"accept-language": "fr"}, request={})
    assert map_request(chosen, event, set()) == {"language": "fr"}


def test_the_input_with_the_conversation_may_have_limits() -> None:
    for limits in ("max_items: 50", "min_items: 1, max_items: 50"):
        limited = FIELDS.replace("required: true}", f"required: true, {limits}}}", 1)
        text = f"{limited}{NODES}{AFTER}\ntriggers: {{t: {{chat: {{}}}}}}\n".replace("KIND", "str").replace(
            "OTHER", "sorry"
        )
        loaded = load_text(text, "f.yaml")
        assert loaded.workflow is not None, [problem.render("f.yaml") for problem in loaded.problems]
        source = loaded.workflow.triggers["t"].source
        assert isinstance(source, Chat)
        assert source.messages == "messages"
