"""What a model receives, and what becomes of its reply."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from flowyard.llm.calls import ChatMessage
from flowyard.runs.events import ModelCalled, RetryScheduled
from support.workflows import Outcome, document, run

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
        ("str | null", "word", "word"),
        ("int | null", "null", None),
        ("any", "plain words", "plain words"),
        ("any", '{"x": [1, null]}', {"x": [1, None]}),
        ("int", "```json\n7\n```", 7),
        ("int", "\n```\n7\n```\n", 7),
        ("list[str]", '```json\n["```"]\n```', ["```"]),
    ],
)
async def test_a_reply_is_read_as_the_type_of_its_field(kind: str, reply: str, value: Any) -> None:
    outcome = await run(_one(f"p: {kind!r}"), replies={"a": reply})
    assert outcome.result.error is None
    assert outcome.result.outputs == {"p": value}
    assert type(outcome.result.outputs["p"]) is type(value)


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
    ],
)
async def test_a_reply_that_does_not_fit_is_kept_with_the_reason(fields: str, reply: str, problem: str) -> None:
    message, kept = _invalid(await run(_one(fields, options=", retry: 0"), replies={"a": reply}))
    assert problem in message
    assert kept == reply


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
    assert "expected int, got str 'seven'" in second[2].content
    assert json.dumps(outcome.calls[0].schema) in second[2].content
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


@pytest.mark.parametrize("reply", ["```\n" + "\n" * 20_000, "```" + " \n" * 20_000 + "x", "`" * 50_000])
async def test_a_fence_that_never_closes_takes_no_time(reply: str) -> None:
    started = time.process_time()
    _invalid(await run(_one("p: int", options=", retry: 0"), replies={"a": reply}))
    assert time.process_time() - started < 2


async def test_a_value_with_braces_is_not_expanded_again() -> None:
    text = document(
        "",
        fields="topic: {type: str, required: true}\nsecret: {type: str, default: hidden}\na: str\nb: str",
        nodes="""
        - {id: a, prompt: 'about {topic}', outputs: [a]}
        - {id: b, prompt: 'again {local}', inputs: {local: '{a} {topic}'}, outputs: [b]}
        """,
    )
    outcome = await run(text, {"topic": "{secret} {{x}} {"}, {"a": "{secret}"})
    assert outcome.prompts_of("a") == ["about {secret} {{x}} {"]
    assert outcome.prompts_of("b") == ["again {secret} {secret} {{x}} {"]


async def test_local_inputs_keep_their_types_and_hide_fields() -> None:
    text = document(
        "",
        fields="xs: {type: 'list[str]', default: [a, b]}\na: str",
        nodes="- {id: a, prompt: '{first} of {n} {xs}', inputs: {first: '{xs[0]}', n: 2, xs: mine}, outputs: [a]}",
    )
    assert (await run(text)).prompts_of("a") == ["a of 2 mine"]


async def test_system_and_examples_come_before_the_question() -> None:
    text = document(
        "",
        fields="x: {type: str, default: now}\np: int",
        nodes="""
        - id: a
          system: 'Be brief about {x}'
          prompt: 'What is {x}?'
          outputs: [p]
          examples: [{inputs: {x: one}, outputs: {p: 1}}]
        """,
    )
    outcome = await run(text, replies={"a": "7"})
    assert [(m.role, m.content) for m in outcome.calls[0].messages] == [
        ("system", "Be brief about now"),
        ("user", "What is one?"),
        ("assistant", '{"p": 1}'),
        ("user", "What is now?"),
    ]


async def test_prompts_are_in_events_only_of_nodes_that_log_them() -> None:
    outcome = await run(_one("p: str", options=", log_prompts: true"), replies={"a": "x"})
    assert outcome.of(ModelCalled)[0].messages == ({"role": "user", "content": "go"},)
    outcome = await run(_one("p: str"), replies={"a": "x"})
    assert outcome.of(ModelCalled)[0].messages is None


async def test_a_nodes_own_model_is_called() -> None:
    outcome = await run(_one("p: str", options=", llm: {provider: openai, model: gpt-9}"), replies={"a": "x"})
    assert str(outcome.calls[0].settings) == "openai/gpt-9"
    (called,) = outcome.of(ModelCalled)
    assert (called.provider, called.model) == ("openai", "gpt-9")
