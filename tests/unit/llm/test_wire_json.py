"""How each provider is asked for JSON, and what comes of a server that doesn't take it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.errors.steps import JsonFormRefused, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.language.values.json_schema import object_schema
from flowyard.language.values.types import parse_type
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.models import Models
from support.wire.behaviour import Json, Status
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider
from support.wire.server import Request

CLOSED = object_schema({"n": (parse_type("int"), None)})
OPEN = object_schema({"counts": (parse_type("dict[str, int]"), None)})
NOT_STRICT = {"type": "json_schema", "json_schema": {"name": "reply", "strict": False, "schema": OPEN}}


def call_of(settings: ModelSettings, schema: dict[str, Any]) -> ModelCall:
    return ModelCall("count", settings, (ChatMessage("user", "Count! As JSON."),), schema)


@pytest.mark.parametrize(
    ("provider", "model", "sent"),
    [
        (OPENAI, None, {"response_format": NOT_STRICT}),
        (DIRECT, None, {"response_format": NOT_STRICT}),
        (OLLAMA, None, {"format": OPEN}),
        (GOOGLE, None, {"generationConfig": {"response_mime_type": "application/json"}}),
        (GOOGLE, "gemini-1.5-flash", {"generationConfig": {"response_mime_type": "application/json"}}),
        (ANTHROPIC, None, {}),
        (ANTHROPIC, "claude-3-5-haiku-20241022", {}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_a_dict_is_never_asked_for_as_an_object_without_keys(
    models: Models, provider: Provider, model: str | None, sent: dict[str, Any]
) -> None:
    async with provider.serve([Json({"counts": {"a": 1}})]) as server:
        settings = provider.settings(server, **({"model": model} if model else {}))
        await models.reply(call_of(settings, OPEN))
    names = ("response_format", "format", "generationConfig", "output_format", "output_config", "tools")
    assert {name: server.requests[0].body[name] for name in names if name in server.requests[0].body} == sent


def form_in(body: dict[str, Any]) -> str:
    asked = body.get("response_format") or {"type": "none"}
    return str(asked["json_schema"]["strict"] if asked["type"] == "json_schema" else asked["type"])


@pytest.mark.parametrize("provider", [OPENAI, DIRECT], ids=lambda provider: provider.name)
async def test_a_form_that_the_server_refuses_is_followed_by_the_next(provider: Provider, models: Models) -> None:
    def answer(request: Request) -> Json | Status:
        if form_in(request.body) in ("True", "False"):
            return Status(400, message="Unknown response_format type: json_schema")
        return Json({"n": 1})

    async with provider.serve(answer) as server:
        call = call_of(provider.settings(server), CLOSED)
        for _ in range(2):
            with pytest.raises(JsonFormRefused, match="Unknown response_format"):
                await models.reply(call)
        for _ in range(2):
            assert json.loads((await models.reply(call)).text) == {"n": 1}
        assert [form_in(request.body) for request in server.requests] == ["True", "False", "json_object", "json_object"]
        fixed = call_of(provider.settings(server, json_form="strict"), CLOSED)
        with pytest.raises(ModelRefused, match="Unknown response_format") as caught:
            await models.reply(fixed)
    assert type(caught.value) is ModelRefused


async def test_a_provider_without_any_parameter_for_json_is_asked_in_words(models: Models) -> None:
    """LiteLLM refuses to send the parameter to some."""
    async with OPENAI.serve([Json({"n": 1})]) as server:
        call = call_of(OPENAI.settings(server, provider="nlp_cloud", model="m"), CLOSED)
        with pytest.raises(JsonFormRefused):
            await models.reply(call)
    assert server.requests == []
