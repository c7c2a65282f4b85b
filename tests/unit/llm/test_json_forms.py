"""In which form a model is asked for JSON, and what is sent for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from flowyard.errors.steps import ModelRefused
from flowyard.language.nodes import JsonForm, ModelSettings
from flowyard.language.values.json_schema import object_schema
from flowyard.language.values.types import Type, parse_type
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.json_forms import Forms, RefusedForms, forms_of, response_format, with_schema

CLOSED = object_schema({"n": (parse_type("int"), None), "texts": (parse_type("list[str] | null"), None)})
OPEN = object_schema({"counts": (parse_type("dict[str, int]"), None)})


def call_of(schema: Any, provider: str = "openai", **settings: Any) -> ModelCall:
    return ModelCall("a", ModelSettings(provider, "m", **settings), (ChatMessage("user", "Hi"),), schema)


@pytest.mark.parametrize(
    ("provider", "closed", "open_"),
    [
        ("openai", ("strict", "schema", "object", "prompt"), ("schema", "object", "prompt")),
        ("ollama", ("schema", "object", "prompt"), ("schema", "object", "prompt")),
        ("anthropic", ("strict", "prompt"), ("prompt",)),
        ("bedrock", ("strict", "prompt"), ("prompt",)),
        ("google", ("strict", "object", "prompt"), ("object", "prompt")),
        ("deepseek", ("object", "prompt"), ("object", "prompt")),
        ("local", ("strict", "schema"), ("schema",)),
    ],
)
def test_the_forms_follow_from_provider_and_schema(provider: str, closed: Forms, open_: Forms) -> None:
    assert forms_of(ModelSettings(provider, "m"), CLOSED) == closed
    assert forms_of(ModelSettings(provider, "m"), OPEN) == open_


@pytest.mark.parametrize(
    ("kind", "is_strict"),
    [
        ("str", True), ("list[int]", True), ("bool | null", True), ("list[list[float]]", True),
        ("any", False), ("dict", False), ("dict[str, int]", False), ("object", False), ("list[any]", False),
        ("list[dict[str, str]]", False), ("dict | null", False),
    ],
)  # fmt: skip
def test_strict_mode_takes_closed_objects_only(kind: str, *, is_strict: bool) -> None:
    schema = object_schema({"value": (parse_type(kind), None)})
    assert ("strict" in forms_of(ModelSettings("openai", "m"), schema)) == is_strict


def test_strict_mode_takes_no_deep_schemas() -> None:
    kind: Type = parse_type("int")
    schema = object_schema({"value": (kind, None)})
    for _ in range(10):
        schema = {**object_schema({"value": (kind, None)}), "properties": {"value": schema}}
    assert "strict" not in forms_of(ModelSettings("openai", "m"), schema)


@pytest.mark.parametrize("form", ["strict", "schema", "object", "prompt"])
def test_a_document_fixes_the_form(form: JsonForm) -> None:
    settings = ModelSettings("anthropic", "m", json_form=form)
    assert forms_of(settings, OPEN) == (form,)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("strict", {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": CLOSED}}),
        ("schema", {"type": "json_schema", "json_schema": {"name": "reply", "strict": False, "schema": CLOSED}}),
        ("object", {"type": "json_object"}),
        ("prompt", None),
    ],
)
def test_a_form_is_a_parameter_of_openais(form: JsonForm, expected: Any) -> None:
    assert response_format(call_of(CLOSED, json_form=form)) == expected


def test_limits_that_a_strict_mode_doesnt_take_are_left_to_the_prompt() -> None:
    limited = {"type": "integer", "minimum": 1, "minLength": 2, "description": "minimum"}
    field = {"anyOf": [{"type": "array", "items": limited, "maxItems": 3}, {"type": "null"}]}
    schema = {**object_schema({"minimum": (parse_type("int"), None)}), "properties": {"minimum": field}}
    sent = {name: response_format(call_of(schema, name)) for name in ("openai", "anthropic", "ollama")}
    fields = {
        name: each["json_schema"]["schema"]["properties"]["minimum"]["anyOf"][0] for name, each in sent.items() if each
    }
    kept = {"type": "integer", "description": "minimum"}
    assert fields == {
        "openai": {"type": "array", "items": {**kept, "minimum": 1}, "maxItems": 3},
        "anthropic": {"type": "array", "items": kept},
        "ollama": field["anyOf"][0],
    }
    assert json.dumps(schema) in with_schema(call_of(schema)).messages[0].text


def test_the_schema_is_in_the_last_message_once() -> None:
    call = with_schema(call_of(CLOSED))
    assert call.messages[0].text.startswith("Hi\n\nReply with nothing but JSON that fits this schema:\n{")
    assert with_schema(call) == call
    assert with_schema(call_of(CLOSED, "local")) == call_of(CLOSED, "local")
    assert with_schema(call_of(None)) == call_of(None)


@pytest.mark.parametrize(
    ("status", "detail", "is_remembered"),
    [
        (400, "'response_format.json_schema' isn't supported", True),
        (422, "Invalid schema for this model", True),
        (400, "JSON mode is not supported", True),
        (400, "the prompt is too long", False),
        (401, "response_format needs a better key", False),
        (None, "response_format", False),
    ],
)
def test_a_form_that_a_server_refuses_is_remembered(status: int | None, detail: str, *, is_remembered: bool) -> None:
    forms = RefusedForms()
    call = call_of(CLOSED)
    asked = ModelCall(call.node, call.settings, call.messages, CLOSED, json_form="strict")
    assert forms.add(asked, ModelRefused(detail, provider="openai", model="m", answered=status)) == is_remembered
    assert forms.best(call, CLOSED) == ("schema" if is_remembered else "strict")
    for other in (ModelSettings("openai", "other"), ModelSettings("openai", "m", api_base="http://127.0.0.1")):
        assert forms.best(replace(call, settings=other), CLOSED) == "strict"


def test_a_form_that_is_the_last_or_fixed_is_an_error() -> None:
    error = ModelRefused("response_format", provider="openai", model="m", answered=400)
    last = ModelCall("a", ModelSettings("openai", "m"), (), CLOSED, json_form="prompt")
    fixed = ModelCall("a", ModelSettings("openai", "m", json_form="strict"), (), CLOSED, json_form="strict")
    assert not RefusedForms().add(last, error)
    assert not RefusedForms().add(fixed, error)
