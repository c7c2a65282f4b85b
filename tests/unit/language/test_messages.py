"""The type `message`: what clients of OpenAI's chat format send, in the one form in which it is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.language.inputs import valid_inputs
from flowyard.language.values.conform import conform
from flowyard.language.values.json_schema import json_schema
from flowyard.language.values.references import Finding, step_type
from flowyard.language.values.types import (
    ANY,
    INT,
    MESSAGE,
    STR,
    DictOf,
    ListOf,
    ObjectField,
    ObjectOf,
    Type,
    accepts,
    describe,
    parse_type,
)
from support.workflows import document, load

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
HELLO = {"type": "text", "text": "Hello"}


def kept(*messages: Any) -> Any:
    problems: list[str] = []
    value = conform(ListOf(MESSAGE), list(messages), "messages", problems)
    assert problems == []
    return value


def faults(*messages: Any) -> list[str]:
    problems: list[str] = []
    conform(ListOf(MESSAGE), list(messages), "messages", problems)
    return problems


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}),
        ({"role": "user", "content": "", "name": "ann"}, {"role": "user", "content": "", "name": "ann"}),
        ({"role": "user", "content": "Hi", "name": None}, {"role": "user", "content": "Hi"}),
        ({"role": "developer", "content": "Be brief"}, {"role": "system", "content": "Be brief"}),
        ({"role": "user", "content": [HELLO, {**HELLO, "x": 1}]}, {"role": "user", "content": "Hello\nHello"}),
        ({"role": "user", "content": [HELLO, IMAGE]}, {"role": "user", "content": [HELLO, IMAGE]}),
        ({"role": "user", "content": [FILE, AUDIO]}, {"role": "user", "content": [FILE, AUDIO]}),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/a.png"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
        ),
        (
            {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [], "reasoning_content": "hm"},
            {"role": "assistant", "content": "Hi", "tool_calls": None},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
        ),
        (
            {"role": "assistant", "content": None, "refusal": "I can't."},
            {"role": "assistant", "content": "I can't.", "tool_calls": None},
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "No.", "tool_calls": None},
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": [HELLO]},
            {"role": "tool", "tool_call_id": "c1", "content": "Hello"},
        ),
    ],
)
def test_a_message_is_kept_in_one_form(sent: Any, stored: Any) -> None:
    assert kept(sent) == [stored]
    assert kept(stored) == [stored]


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ("Hello", "messages[1]: expected message, got str 'Hello'"),
        ({"content": ""}, "messages[1].role: missing"),
        ({"role": 1, "content": ""}, "messages[1].role: expected str, got int"),
        ({"role": "usr", "content": ""}, "messages[1].role: no role 'usr' (did you mean 'user'?)"),
        ({"role": "function", "content": ""}, "messages[1].role: no role 'function' (roles: system, user, assi"),
        ({"role": "user"}, "messages[1].content: missing"),
        ({"role": "user", "content": None}, "messages[1].content: missing"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "messages[1].content: missing"),
        ({"role": "user", "content": 1}, "messages[1].content: expected a text or a list of parts, got int"),
        ({"role": "user", "content": []}, "messages[1].content: has no parts"),
        ({"role": "user", "content": ["Hi"]}, "messages[1].content[0]: expected a part such as {type: text, text: …}"),
        ({"role": "user", "content": [{}]}, "messages[1].content[0].type: missing"),
        ({"role": "user", "content": [HELLO, {"type": "text"}]}, "messages[1].content[1].text: missing"),
        ({"role": "user", "content": [{"type": "image"}]}, "messages[1].content[0].type: no part of type 'image' (did"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[1].content[0].image_url: missing"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
            "messages[1].content[0].image_url.url: expected https://… or data:image/…",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x", "detail": "4k"}}]},
            "messages[1].content[0].image_url.detail: no such detail (auto, low, high)",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
            "messages[1].content[0].file.file_id: files at the provider can't be used: send the file itself",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[1].content[0].file.file_data: missing"),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A"}}]},
            "messages[1].content[0].input_audio.format: missing",
        ),
        (
            {"role": "assistant", "content": [IMAGE]},
            "messages[1].content[0].type: 'image_url' can only be in messages of the user",
        ),
        ({"role": "tool", "content": "12"}, "messages[1].tool_call_id: missing"),
        ({"role": "assistant", "tool_calls": {"a": 1}}, "messages[1].tool_calls: expected list, got object"),
        ({"role": "assistant", "tool_calls": [1]}, "messages[1].tool_calls[0]: expected object, got int"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "id": None}]},
            "messages[1].tool_calls[0].id: expected str, got",
        ),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages[1].tool_calls[0].function: missing"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]},
            "messages[1].tool_calls[0].function.name: missing",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": 1}}]},
            "messages[1].tool_calls[0].function.arguments: expected the text of a JSON object, got int",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "function": CALL["function"]}]},
            "messages[1].tool_calls[0].type: only calls of type 'function' are known",
        ),
        ({"role": "user", "content": "a\0"}, "messages[1].content: the text contains the character U+0000"),
        (
            {"role": "user", "content": [IMAGE, {"type": "text", "text": "\ud800"}]},
            "messages[1].content[1].text: the text contains half of a surrogate pair",
        ),
    ],
)
def test_a_fault_names_the_message_and_the_key(sent: Any, fault: str) -> None:
    assert [shown[: len(fault)] for shown in faults({"role": "user", "content": "Hi"}, sent)] == [fault]


def test_arguments_that_nest_too_deeply_are_refused() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    sent = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": deep}}]}
    assert faults(sent) == ["messages[0].tool_calls[0].function.arguments: can't be stored as JSON"]
    while deep:
        # Else to free it would need as many levels of the interpreter's own stack.
        deep = deep.pop("a")


WORDS_AS_KEYS = """
role content name tool_calls tool_call_id type text image_url url detail file file_data file_id filename input_audio
data format id function arguments refusal
"""
KEYS = st.sampled_from(WORDS_AS_KEYS.split())
WORDS = st.sampled_from(
    [
        "user",
        "assistant",
        "tool",
        "developer",
        "text",
        "image_url",
        "file",
        "input_audio",
        "function",
        "low",
        "data:image/a",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
MESSAGES = st.fixed_dictionaries({"role": WORDS, "content": JSON}, optional={"tool_calls": st.lists(JSON, max_size=3)})


@given(sent=JSON | MESSAGES)
def test_whatever_comes_is_refused_or_kept_in_a_form_that_does_not_change_again(sent: Any) -> None:
    problems: list[str] = []
    first = conform(MESSAGE, sent, "m", problems)
    if not problems:
        assert first["role"] in ("system", "user", "assistant", "tool")
        assert conform(MESSAGE, json.loads(json.dumps(first)), "m", problems) == first
    assert all(problem.startswith("m") for problem in problems)


def test_messages_are_an_input_of_a_workflow() -> None:
    workflow = load(
        document(
            "",
            fields="messages: {type: 'list[message]', required: true, max_items: 2}\na: str",
            nodes="- {id: a, prompt: '{messages[-1].content}', outputs: [a]}",
        )
    )
    hello = {"role": "developer", "content": [HELLO]}
    assert valid_inputs(workflow, {"messages": [hello]}) == {"messages": [{"role": "system", "content": "Hello"}]}


def test_what_can_be_done_with_a_message() -> None:
    assert parse_type("list[message]") == ListOf(MESSAGE)
    assert describe(ListOf(MESSAGE)) == "list[message]"
    assert step_type(MESSAGE, "role", 0) == STR
    assert step_type(MESSAGE, "content", 0) == ANY
    assert isinstance(step_type(MESSAGE, 0, 0), Finding)
    unknown = step_type(MESSAGE, "contnt", 7)
    assert isinstance(unknown, Finding)
    assert (unknown.message, unknown.offset) == ("a message has no 'contnt'", 7)
    assert "'content'" in (unknown.suggestion or "")


def test_objects_without_a_schema_may_be_messages() -> None:
    similar: list[Type] = [ObjectOf(), DictOf(ANY), ANY, MESSAGE]
    for other in similar:
        assert accepts(MESSAGE, other)
        assert accepts(other, MESSAGE)
    different: list[Type] = [STR, INT, DictOf(INT), ObjectOf({"role": ObjectField(STR)}), ListOf(MESSAGE)]
    for other in different:
        assert not accepts(MESSAGE, other)
        assert not accepts(other, MESSAGE)


def test_a_model_that_has_to_write_messages_gets_their_schema() -> None:
    assert json_schema(ListOf(MESSAGE)) == {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "role": {"type": "string", "enum": ["system", "user", "assistant"]},
                "content": {"type": "string"},
            },
            "required": ["role", "content"],
            "additionalProperties": False,
        },
    }
