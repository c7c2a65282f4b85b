"""What a model receives, and what becomes of its reply."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from flowyard.errors.requests import InvalidInputs
from flowyard.language.inputs import valid_inputs
from flowyard.llm.calls import ChatMessage
from flowyard.runs.events import RetryScheduled
from support.workflows import Outcome, document, load, run

_PROFILE = """
p:
  type: object
  schema:
    name: {type: str, required: true}
    ages: 'list[int]'
    note: 'str | null'
"""


def _one(fields: str, outputs: str = "p", options: str = "") -> str:
    node = f"- {{id: a, prompt: 'go', outputs: [{outputs}]{options}}}"
    return document("", fields=fields, nodes=node)


def _invalid(outcome: Outcome) -> tuple[str, str | None]:
    error = outcome.result.error
    assert error is not None, outcome.result
    assert error.code == "invalid_output"
    return error.message, error.reply


async def test_a_text_needs_no_schema_and_is_stripped() -> None:
    outcome = await run(_one("p: str"), replies={"a": "  Hello\n"})
    assert outcome.calls[0].schema is None
    assert outcome.result.outputs == {"p": "Hello"}


async def test_the_schema_for_the_model_has_exactly_the_types_of_the_outputs() -> None:
    outcome = await run(
        _one("p: {type: int, description: How many}\nq: 'list[str]'", "p, q"), replies={"a": '{"p": 1, "q": []}'}
    )
    assert outcome.calls[0].schema == {
        "type": "object",
        "properties": {
            "p": {"type": "integer", "description": "How many"},
            "q": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["p", "q"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("kind", "reply", "value"),
    [
        ("int", "7", 7),
        ("int", '{"p": 7}', 7),
        ("float", "7", 7.0),
        ("bool", "true", True),
        ("list[int]", "[1]", [1]),
        ("dict[str, int]", '{"p": 1}', {"p": 1}),
        ("dict[str, int]", '{"x": 1}', {"x": 1}),
        ("str | null", '"word"', "word"),
        ("int | null", "null", None),
        ("any", '{"x": [1, null]}', {"x": [1, None]}),
        ("int", "```json\n7\n```", 7),
        ("int", "\n```\n7\n```\n", 7),
        ("list[str]", '```json\n["```"]\n```', ["```"]),
        # reasoning before it
        ("str", "<think>\nHm, {</think>\n\n Hello", "Hello"),
        ("str", "<thinking>a</thinking><reasoning>b</reasoning>c <think>d</think>", "c <think>d</think>"),
        ("int", '<reasoning>Is {"p": 1} right?</reasoning>{"p": 2}', 2),
        # prose around it
        ("int", 'Sure! Here is {it}: {"p": 7}', 7),
        ("int", '{"p": 7}\n\nHope this helps {you}!', 7),
        ("int", 'Sure:\n\n```json\n{"p": 7}\n```\nHope this helps!', 7),
        ("int", "The answer:\n```\n7\n```\n", 7),
        ("list[int]", "Sources [1] and [2] say:\n[3, 4]\n", [3, 4]),
        ("list[int]", "The list: [3, 4]", [3, 4]),
        ("any", 'It is\n{"x": "{"}', {"x": "{"}),
        ("int", 'Not {"q": 1} but\n{"p": 7}', 7),
        ("int", 'First {"p": 7}, and again:\n{"p": 7}', 7),
        # values that are meant so
        ("int", "7.0", 7),
        ("int | null", '{"p": 7.0}', 7),
        ("list[int]", '"[1, 2.0]"', [1, 2]),
        ("list[int]", '{"p": "[1, 2]"}', [1, 2]),
        ("dict[str, bool]", '{"p": "{\\"a\\": \\"True\\"}"}', {"a": True}),
        ("bool", "True", True),
        ("bool", '"FALSE"', False),
        ("list[bool]", '["true", "False", false]', [True, False, False]),
        ("str | null", "Null", None),
        # a text of a certain form
        ("'Billing' | 'other'", "billing", "Billing"),
        ("'Billing' | 'other' | null", '{"p": " BILLING\\n"}', "Billing"),
        ("list['Billing' | 'other']", '["OTHER", "Billing"]', ["other", "Billing"]),
        ("'1' | '2'", "2", "2"),
        ("date", "<think>Hm</think> 2026-01-31 ", "2026-01-31"),
        ("str", "The user greets.</think>\n\nHello", "Hello"),
        ("str", "A <b>bold</b> word, or </think> in a text", "A <b>bold</b> word, or </think> in a text"),
        ("datetime | null", "2026-01-31T10:00:00Z", "2026-01-31T10:00:00+00:00"),
        ("any", "7.0", 7.0),
        ("any", '"[1]"', "[1]"),
        ("str", "7.0", "7.0"),
    ],
)
async def test_a_reply_is_read_as_the_type_of_its_field(kind: str, reply: str, value: Any) -> None:
    outcome = await run(_one(f"p: {kind!r}"), replies={"a": reply})
    assert outcome.result.error is None
    assert outcome.result.outputs == {"p": value}
    assert type(outcome.result.outputs["p"]) is type(value)


@pytest.mark.parametrize(
    ("field", "given", "schema"),
    [
        ("any", "int", {"type": "integer"}),
        ("list", "list['a' | 'b']", {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}),
        ("any | null", "any", {}),
        ("dict", "dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("object", "dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("str | null", "'a'", {"type": "string", "enum": ["a"]}),
        (
            "list[int] | null",
            "list | null",
            {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        ),
        ("'a' | 'b'", "str", {"type": "string", "enum": ["a", "b"]}),
        ("float", "int", {"type": "integer"}),
        ("str", "str; enum: [a, b]", {"type": "string", "enum": ["a", "b"]}),
        (
            "{type: list, max_items: 9}",
            "list[int]; max: 5, max_items: 2",
            {"type": "array", "maxItems": 2, "items": {"type": "integer", "maximum": 5}},
        ),
        ("float | null", "int; min: 1, max: 5", {"type": "integer", "minimum": 1, "maximum": 5}),
    ],
)
async def test_a_model_is_asked_for_the_narrower_of_two_types(field: str, given: str, schema: dict[str, Any]) -> None:
    kind, comma, limits = given.partition(";")
    declared = f"{{name: p, type: {json.dumps(kind)}{comma and ','}{limits}}}"
    options = f", output_schema: {{type: object, fields: [{declared}]}}, retry: 0"
    given_field = field if field.startswith("{") else json.dumps(field)
    outcome = await run(_one(f"p: {given_field}", options=options), replies={"a": "null"})
    assert outcome.calls[0].schema is not None
    assert outcome.calls[0].schema["properties"]["p"] == schema


async def test_limits_are_part_of_the_schema_that_the_model_gets() -> None:
    fields = """
    p: {type: 'list[str]', enum: [a, b], description: letters, max_items: 3}
    q: {type: int | null, min: 0, max: 10}
    r: {type: str, pattern: '[A-Z]+'}
    s: {type: object, schema: {day: date, at: datetime, x: {type: float, min: 0.5}}}
    """
    reply = {"p": ["A"], "q": 3.0, "r": "OK", "s": {"day": "2026-01-31", "at": "2026-01-31T10:00:00Z", "x": 1}}
    outcome = await run(_one(fields, "p, q, r, s"), replies={"a": reply})
    assert outcome.result.outputs["s"] == {"day": "2026-01-31", "at": "2026-01-31T10:00:00+00:00", "x": 1.0}
    assert (outcome.result.outputs["p"], outcome.result.outputs["q"]) == (["a"], 3)
    schema = outcome.calls[0].schema
    assert schema is not None
    assert schema["properties"] == {
        "p": {
            "type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "maxItems": 3, "description": "letters"
        },
        "q": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 10}, {"type": "null"}]},
        "r": {"type": "string", "pattern": "^([A-Z]+)$"},
        "s": {
            "type": "object",
            "properties": {
                "day": {"type": "string", "format": "date"},
                "at": {"type": "string", "format": "date-time"},
                "x": {"type": "number", "minimum": 0.5},
            },
            "required": ["day", "at", "x"],
            "additionalProperties": False,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "reply", "problem"),
    [
        ("p: int", '"7"', "p: expected int, got str '7'"),
        ("p: int", "7.5", "p: expected int, got float 7.5"),
        ("p: int", "true", "p: expected int, got bool"),
        ("p: int", "seven", "p: expected int, got str 'seven'"),
        ("p: float", "NaN", "p: expected float, got str 'NaN'"),
        ("p: float", "1e999", "p: inf isn't a finite number"),
        ("p: list[int]", "[1, 'x']", "no JSON"),
        ("p: list[int]", '[1, "x"]', "p[1]: expected int, got str 'x'"),
        ("p: dict[str, int]", '{"x": null}', "p.x: expected int, got null"),
        (_PROFILE, '{"name": "Ada", "ages": [1, "2"], "note": null}', "p.ages[1]: expected int, got str '2'"),
        (_PROFILE, '{"ages": [], "note": null}', "p.name: missing"),
        (_PROFILE, '{"name": "Ada", "ages": [], "note": null, "x": 1}', "p.x: no such field"),
        ("p: int", "", "the reply is empty"),
        ("p: str", "   ", "the reply is empty"),
        ("p: str", "<think>Hello</think>\n", "the reply is empty"),
        ("p: str", "<think>Hello", "the reply is empty"),
        ("p: str", "a \ud800 b", "p: the text contains half of a surrogate pair"),
        # prose is no value
        ("p: str | null", "word", "the reply is no JSON: line 1 column 1: no value begins here"),
        ("p: any", "plain words", "the reply is no JSON: line 1 column 1: no value begins here"),
        ("p: any", "As said in [1], it's so.", "the reply is no JSON"),
        ("p: any", "The set {1, 2} is\n[3", "the reply is no JSON"),
        ("p: list", "As said in [1], it's so.", "expected list, got str"),
        ("p: dict", 'The input {"a": 1} is wrong.', "expected dict, got str"),
        (_PROFILE, 'The input {"a": 1} is wrong.', "expected object, got str"),
        (_PROFILE, "Her name is Ada.", "expected object, got str"),
        ("p: bool", "Yes, it is true", "expected bool, got str"),
        ("p: bool", "1", "p: expected bool, got int 1"),
        ("p: int", "1e400", "p: expected int, got float inf"),
        ("p: int", "12345678901234567890.0", "p: expected int, got float"),
        # an object around the value that has more in it, and the schema itself
        ("p: dict", '{"p": {"a": 1}, "note": "x"}', "note: no such field"),
        ("p: any", '{"p": 4, "note": "x"}', "note: no such field"),
        (
            "p: any",
            '{"type": "object", "properties": {"p": {}}, "required": ["p"], "additionalProperties": false}',
            "it is the schema",
        ),
        ("p: list[int]", '"[1"', "p: expected list[int], got str '[1'"),
        ("p: list[int]", '"1"', "p: expected list[int], got str '1'"),
        ("p: \"'bill' | 'other'\"", "It is bill.", "isn't one of its values (values: bill, other)"),
        ("p: \"'bill' | 'other'\"", '{"p": "bil"}', "did you mean 'bill'?"),
        ("p: \"'bill' | 'Bill'\"", '{"p": "BILL"}', "isn't one of its values"),
        ("p: date | null", "Tomorrow", "isn't a date such as"),
        ("p: {type: 'list[int]', max: 3, max_items: 2}", "[1, 9]", "p[1]: must be at most 3, not 9"),
        ("p: {type: 'list[int]', max: 3, max_items: 2}", "[1, 2, 3]", "p: must have at most 2 items, not 3"),
        # of two values, which is meant?
        ("p: int", 'For {"p": 1} it is\n{"p": 2}', "the reply has 2 JSON values: write only the one that is meant"),
        ("p: int", 'For {"p": 1} it is\n```\n2\n```', "the reply has 2 JSON values"),
        ("p: int", "```\n1\n```\n```\n2\n```", "the reply has 2 JSON values"),
        # what prose only mentions
        ("p: int", 'You asked for {"p": 0} but I have no idea.', "mentions JSON, but not as its answer: write nothing"),
        ("p: int", '{"p": 0} is what you asked for.', "mentions JSON, but not as its answer"),
        ("p: int", 'You asked for this form:\n{"p": 0}\nIt depends.', "mentions JSON, but not as its answer"),
        ("p: int", 'I won\u2019t. The form would be: {"p": 0}', "mentions JSON, but not as its answer"),
        ("p: int", 'Such as\n```json\n{"p": 0}\n```\nbut I cannot say.', "mentions JSON, but not as its answer"),
        ("p: int", 'An example:\n```json\n{"p": 0}\n```', "mentions JSON, but not as its answer"),
        ("p: list[int]", "Sources [1] and [2] say:\n[3, 4]\nas I think.", "mentions JSON, but not as its answer"),
        ("p: int\n", 'Sure! Here is it: {"p": 7}. Hope this helps!', "mentions JSON, but not as its answer"),
        # which of two values of one key?
        ("p: int", '{"p": 1, "p": 2}', 'the reply can\'t be read: an object has the key "p" more than once'),
        ("p: int", '{"p": 1, "p": 1}', 'an object has the key "p" more than once'),
        ("p: dict", '{"p": {"a": {"b": 1, "b": 2}}}', 'an object has the key "b" more than once'),
        ("p: int", 'Sure:\n```\n{"p": 1, "p": 2}\n```', 'an object has the key "p" more than once'),
        ("p: int", 'Sure: {"p": 1, "p": 2}', 'an object has the key "p" more than once'),
        ("p: int", "9" * 5000, "the reply can't be read: a number has more than 4,300 digits"),
        ("p: int", f"So: [{'9' * 5000}]", "the reply can't be read: a number has more than 4,300 digits"),
        # numbers that JSON doesn't have, or that a float doesn't hold
        ("p: float", '{"p": Infinity}', "the reply can't be read: Infinity is no number of JSON"),
        ("p: any", '{"p": [-Infinity, NaN]}', "the reply can't be read: -Infinity is no number of JSON"),
        ("p: int", '{"p": 9007199254740993.0}', "p: expected int, got float"),
        ("p: int", "-9007199254740993.0", "p: expected int, got float"),
        # a part of what is cut off or broken
        ("p: int", 'Here: {"x": {"p": 7}', "expected int, got str"),
        ("p: int", 'Here: {x: {"p": 7}}', "expected int, got str"),
        ("p: int", 'Here: {\'x}\': {"p": 7}, "}": {"p": 7}', "expected int, got str"),
    ],
)
async def test_a_reply_that_does_not_fit_is_kept_with_the_reason(fields: str, reply: str, problem: str) -> None:
    message, kept = _invalid(await run(_one(fields, options=", retry: 0"), replies={"a": reply}))
    assert problem in message
    assert kept == reply


async def test_several_outputs_are_one_object_wherever_it_is() -> None:
    reply = '<think>{"p": 1}</think>Sure, see {"p": 2}. So it is:\n{"p": 1.0, "q": "TRUE"}'
    outcome = await run(_one("p: int\nq: bool", "p, q"), replies={"a": reply})
    assert outcome.result.outputs == {"p": 1, "q": True}


async def test_an_object_that_is_a_text_is_read() -> None:
    reply = json.dumps(json.dumps({"p": 1, "q": True}))
    assert (await run(_one("p: int\nq: bool", "p, q"), replies={"a": reply})).result.outputs == {"p": 1, "q": True}


async def test_a_choice_may_look_like_a_number_that_json_doesnt_have() -> None:
    outcome = await run(_one("p: \"'NaN' | 'Infinity'\""), replies={"a": "NaN"})
    assert outcome.result.outputs == {"p": "NaN"}


async def test_the_fields_of_an_object_are_read_as_they_are_meant() -> None:
    reply = '{"name": "Ada", "ages": "[36.0]", "note": null}'
    outcome = await run(_one(_PROFILE), replies={"a": reply})
    assert outcome.result.outputs == {"p": {"name": "Ada", "ages": [36], "note": None}}


async def test_a_text_that_was_requested_within_an_object_is_no_prose() -> None:
    schema = ", output_schema: {type: object, fields: [{name: p, type: str}]}, retry: 0"
    assert (await run(_one("p: str", options=schema), replies={"a": '{"p": "x"}'})).result.outputs == {"p": "x"}
    assert "the reply is no JSON" in _invalid(await run(_one("p: str", options=schema), replies={"a": "Sure! x"}))[0]


async def test_inputs_are_read_more_strictly_than_replies() -> None:
    for given in (7.0, "7", True):
        with pytest.raises(InvalidInputs, match="expected int"):
            valid_inputs(load(_one("n: {type: int, required: true}\np: str")), {"n": given})


async def test_several_outputs_must_all_be_there_and_no_others() -> None:
    message, _ = _invalid(await run(_one("p: int\nq: int", "p, q", ", retry: 0"), replies={"a": '{"p": 1, "z": 2}'}))
    assert "z: no such field" in message
    assert "q: missing" in message
    message, _ = _invalid(await run(_one("p: int\nq: int", "p, q", ", retry: 0"), replies={"a": "[1]"}))
    assert "expected an object with p, q" in message


async def test_an_invalid_reply_goes_back_with_what_is_wrong_until_it_fits() -> None:
    outcome = await run(_one("p: int"), replies={"a": ["seven", "8.5", "7"]})
    assert outcome.result.outputs == {"p": 7}
    assert outcome.sleeps == []
    second, third = outcome.calls[1].messages, outcome.calls[2].messages
    assert [m.role for m in second] == ["user", "assistant", "user"]
    assert second[1].content == "seven"
    assert "expected int, got str 'seven'" in second[2].text
    assert json.dumps(outcome.calls[0].schema) in second[2].text
    assert third[1].content == "8.5"
    assert len(third) == 3
    assert [e.error.reply for e in outcome.of(RetryScheduled)] == ["seven", "8.5"]


async def test_after_max_retries_an_invalid_reply_is_invalid_output() -> None:
    outcome = await run(_one("p: int", options=", retry: 2"), replies={"a": ["x", "y", "z", "4"]})
    assert len(outcome.calls) == 3
    assert _invalid(outcome)[1] == "z"


async def test_a_correction_is_not_lost_when_its_own_call_fails() -> None:
    outcome = await run(_one("p: int"), replies={"a": ["seven", {"error": "rate_limited"}, "7"]})
    assert outcome.result.outputs == {"p": 7}
    assert outcome.calls[2].messages == outcome.calls[1].messages
    assert len(outcome.calls[2].messages) == 3


async def test_an_empty_reply_goes_back_too() -> None:
    outcome = await run(_one("p: str"), replies={"a": ["", "words"]})
    assert outcome.result.outputs == {"p": "words"}
    assert outcome.calls[1].messages[1] == ChatMessage("assistant", "(empty)")


async def test_a_reply_that_nests_without_end_is_invalid_and_no_crash() -> None:
    for depth in (300, 450, 600, 900, 100_000):
        outcome = await run(_one("p: any", options=", retry: 0"), replies={"a": "[" * depth + "]" * depth})
        if outcome.result.status == "failed":
            _invalid(outcome)


@pytest.mark.parametrize(
    "reply",
    [
        "```\n" + "\n" * 20_000,
        "```" + " \n" * 20_000 + "x",
        "`" * 50_000,
        "x" + "[" * 50_000,
        "x" + "{]" * 50_000,
        "x" + '{"' * 50_000,
        "x" + "[1] " * 50_000,
        "x" + "<think>" * 50_000,
        "<think></think>" * 100_000 + "x",
    ],
    ids=lambda reply: reply[:5],
)
async def test_a_reply_that_never_closes_takes_no_time(reply: str) -> None:
    started = time.process_time()
    _invalid(await run(_one("p: int", options=", retry: 0"), replies={"a": reply}))
    assert time.process_time() - started < 2
