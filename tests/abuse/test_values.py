"""Values that can't be stored, that mean two things, or that are wrong thousands of times."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from flowyard.control.submit import check_size
from flowyard.errors.requests import MOST, InvalidInputs, InvalidRequest, TooDense
from flowyard.exact_json import event_json, strict_json
from flowyard.language.inputs import valid_inputs
from flowyard.language.load import load_text
from flowyard.language.values.conform import MAX_PROBLEMS, conform
from flowyard.language.values.types import ANY, FLOAT, INT, STR, DictOf, ListOf, ObjectField, ObjectOf, Type
from flowyard.language.workflow import Workflow
from flowyard.steps.json_in_text import UnclearJson, parse, values_in
from support.campaigns import Campaigns
from support.holding import held_s

DOCUMENT = """\
flow: {name: values}
state:
  fields:
    t: {type: any, default: 1}
    many: {type: 'list[int]', default: []}
    chat: {type: 'list[message]', default: []}
    p: str
nodes:
  - {id: write, outputs: [p], prompt: 'On {t} {many} {chat}'}
"""


def workflow() -> Workflow:
    loaded = load_text(DOCUMENT, "v.yaml").workflow
    assert loaded is not None
    return loaded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (r'{"x": [{"b": 1, "b": 1}]}', "the key 'b' is there twice"),
        (r'{"\u0061": 1, "a": 2}', "the key 'a' is there twice"),
        (r'{"x": "\u0000"}', r"line 1 column 8: a text contains the character U+0000 (\u0000)"),
        ('{\n  "\\u0000": 1}', r"line 2 column 4: a text contains the character U+0000 (\u0000)"),
        (r'{"x": "\ud83d"}', r"line 1 column 8: a text contains half of a surrogate pair (\ud83d)"),
        (r'["\ud83d\ude00", {"\uDE00": 1}]', r"line 1 column 20: a text contains half of a surrogate pair (\uDE00)"),
        (r'["\\\ud83d"]', r"line 1 column 5: a text contains half of a surrogate pair (\ud83d)"),
    ],
)
def test_json_that_cant_be_stored_as_it_is_is_refused_at_the_door(campaign: Campaigns, text: str, message: str) -> None:
    attempt = campaign("surrogates, NUL and keys that are there twice").attempt(text)
    with attempt, pytest.raises(ValueError, match=re.escape(message)):
        strict_json(text.encode())


@pytest.mark.parametrize(
    "text", [r'["\ud83d\ude00"]', r'["\\u0000", "\\\\ud83d"]', '["é😀"]', r'["\n\"\/"]', "[1, 2.5, null]"]
)
def test_json_that_can_be_stored_is_read_as_always(text: str) -> None:
    assert strict_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (STR, "a\0", "x: the text contains the character U+0000"),
        (STR, "\udfff", "x: the text contains half of a surrogate pair"),
        (ANY, {"a": ["\0"]}, "x.a[0]: the text contains the character U+0000"),
        (ANY, {"\ud800": 1}, r"x: the key '\ud800' contains half of a surrogate pair"),
        (DictOf(INT), {"\0": 1}, r"x: the key '\x00' contains the character U+0000"),
        (ObjectOf({"a": ObjectField(ANY)}), {"a": {"\0": 1}}, r"x.a: the key '\x00' contains the character U+0000"),
    ],
)
def test_values_and_keys_follow_one_rule(campaign: Campaigns, kind: Type, value: Any, message: str) -> None:
    """Of inputs, of replies, and of what a workflow writes itself."""
    with campaign("surrogates, NUL and keys that are there twice").attempt(value):
        problems: list[str] = []
        conform(kind, value, "x", problems)
        assert problems == [message]


def test_a_document_cant_contain_them_either(campaign: Campaigns) -> None:
    with campaign("surrogates, NUL and keys that are there twice").attempt("a document"):
        problems = load_text(DOCUMENT.replace("default: 1", r'default: "a\0"'), "v.yaml").errors
        assert [(p.position.line, p.message) for p in problems][:1] == [
            (4, "a text can't contain the character U+0000")
        ]


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("unknown inputs", {f"unknown{i}": 1 for i in range(40_000)}),
        ("wrong items", {"many": ["a"] * 100_000}),
        ("long names", {"x" * 100_000 + str(i): 1 for i in range(50)}),
        ("halves of pairs", {"t": ["\ud800"] * 100_000}),
        ("keys", {"t": {"\0" + str(i): 1 for i in range(100_000)}}),
        ("wrong messages", {"chat": [{"role": "x" * 1000, "content": [{"type": "y" * 1000}] * 10}] * 10_000}),
        ("wrong calls", {"chat": [{"role": "assistant", "tool_calls": [{"id": 1, "function": {}}] * 100_000}]}),
    ],
)
def test_an_answer_lists_the_first_problems_and_their_number(
    campaign: Campaigns, what: str, given: dict[str, Any]
) -> None:
    with campaign("answers that list problems").attempt(what):
        with pytest.raises(InvalidInputs) as refused:
            valid_inputs(workflow(), given)
        assert len(refused.value.problems) <= MOST + 1
        assert len(str(refused.value)) < 60_000
        if what == "unknown inputs":
            assert refused.value.problems[-1] == "and 39,950 more problems"


def test_a_request_with_thousands_of_mistakes_is_answered_briefly(campaign: Campaigns) -> None:
    with campaign("answers that list problems").attempt("a request"):
        error = InvalidRequest([{"where": f"body.{i}", "message": "no"} for i in range(5_000)])
        assert len(error.problems) == MOST + 1
        assert error.problems[-1] == {"where": "request", "message": "and 4,950 more problems"}


def test_defaults_of_objects_cant_make_a_value_a_thousand_times_as_large(campaign: Campaigns) -> None:
    kind = ListOf(ObjectOf({"text": ObjectField(STR, has_default=True, default="y" * 100_000)}))
    with campaign("defaults that multiply").attempt("a list of objects"):
        problems: list[str] = []
        tracemalloc.start()
        try:
            conform(kind, [{}] * 100_000, "x", problems)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert problems[0] == "x[9]: with the defaults of its objects it is larger than 1,000,000 characters"
        assert peak < 10_000_000


@pytest.mark.parametrize(
    ("what", "kind", "value"),
    [
        ("many wrong items", ListOf(INT), ["a"] * 500_000),
        ("many unknown keys", ObjectOf({}), {f"k{i}": 1 for i in range(100_000)}),
        ("many bad texts", ListOf(STR), ["\0"] * 500_000),
        ("deep nesting", ANY, json.loads("[" * 900 + "]" * 900)),
        ("a long text", STR, "x" * 8_000_000),
        ("long numbers", ListOf(FLOAT), [10**4000] * 10_000),
    ],
)
def test_what_is_wrong_is_refused_quickly(campaign: Campaigns, what: str, kind: Type, value: Any) -> None:
    with campaign("values that hold an event loop").attempt(what):
        assert held_s(lambda: conform(kind, value, "x", [])) < 0.1


@pytest.mark.parametrize("read", [strict_json, event_json, parse])
@pytest.mark.parametrize("item", ["[]", "{}", '{"a":[]}', "[[[]]]"])
def test_more_lists_and_objects_than_a_value_may_have_are_refused_before_they_are_made(
    campaign: Campaigns, item: str, read: Callable[[Any], Any]
) -> None:
    text = "[" + ",".join([item] * 130_000) + "]"
    with campaign("values that hold an event loop").attempt(f"many of {item}"):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"it has [\d,]+ lists and objects; at most 125,000 are allowed"):
                read(text if read is parse else text.encode())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10_000_000


@pytest.mark.parametrize("around", ["```json\n{}\n```", 'The "list:\n{}', "{}\nis the list"])
def test_a_reply_cant_hide_them_in_prose(campaign: Campaigns, around: str) -> None:
    text = around.replace("{}", "[" + ",".join(["[]"] * 400_000) + "]")
    with campaign("values that hold an event loop").attempt(around), pytest.raises(UnclearJson, match="400,001"):
        values_in(text, {"x"})


def test_defaults_cant_make_more_lists_than_a_value_may_have(campaign: Campaigns) -> None:
    inputs: dict[str, Any] = {"xs": [{"rows": [[]] * 300}] * 1_000}
    message = "the inputs have 302,002 lists and objects; at most 125,000 are allowed"
    with campaign("values that hold an event loop").attempt("defaults"), pytest.raises(TooDense, match=message):
        check_size(inputs, "the inputs", 2_000_000)


def test_the_checks_of_a_value_end_after_some_problems() -> None:
    problems: list[str] = []
    conform(ListOf(INT), ["a"] * 1_000, "x", problems)
    assert (len(problems), problems[-1]) == (MAX_PROBLEMS + 1, f"x: these are its first {MAX_PROBLEMS} problems")
