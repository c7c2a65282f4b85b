"""How each provider is asked for JSON, and what comes of a server that doesn't take it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.errors.steps import JsonFormRefused, ModelError, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.language.values.json_schema import object_schema
from flowyard.language.values.types import parse_type
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models
from support.wire.behaviour import Json, Raw, Status
from support.wire.providers import ANTHROPIC, DIRECT, GOOGLE, OLLAMA, OPENAI, Provider
from support.wire.server import Request

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
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
    assert asked_in(server.requests[0].body) == sent


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


REFUSALS: list[tuple[str, int, dict[str, Any]]] = [
    ("openai", 400, {"error": {
        "message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. "
                   "Learn more about supported models at the Structured Outputs guide",
        "type": "invalid_request_error", "param": None, "code": None,
    }}),
    ("openai-schema", 400, {"error": {
        "message": "Invalid schema for response_format 'reply': In context=(), 'additionalProperties' is required to "
                   "be supplied and to be false.",
        "type": "invalid_request_error", "param": "response_format", "code": None,
    }}),
    ("groq", 400, {"error": {
        "message": "This model does not support response format `json_schema`. See supported models at "
                   "https://console.groq.com/docs/structured-outputs#supported-models",
        "type": "invalid_request_error",
    }}),
    ("groq-limit", 400, {"error": {
        "message": "invalid schema for response format: response_format/json_schema/n: minItems is not supported",
        "type": "invalid_request_error",
    }}),
    ("groq-only", 400, {"error": {"message": "The model only supports response formats: [json text]."}}),
    ("deepseek", 400, {"error": {
        "message": "This response_format type is unavailable now", "type": "invalid_request_error", "param": None,
        "code": "invalid_request_error",
    }}),
    ("deepseek-old", 422, {"error": {
        "message": "Failed to deserialize the JSON body into the target type: response_format: response_format.type "
                   "`json_schema` is unavailable now at line 1 column 801",
    }}),
    ("volcengine", 400, {"error": {
        "code": "InvalidParameter", "param": "response_format.type", "type": "BadRequest",
        "message": "The parameter `response_format.type` specified in the request are not valid: invalid value: "
                   "`json_schema`, supported values are: `json_object` and `text`.",
    }}),
    ("azure", 400, {"error": {
        "code": "BadRequest",
        "message": "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later",
    }}),
    ("lm-studio", 400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}),
    ("vllm", 400, {
        "object": "error", "type": "BadRequestError", "param": None, "code": 400,
        "message": "The provided JSON schema contains features not supported by xgrammar.",
    }),
    ("vllm-old", 400, {
        "object": "error", "type": "BadRequestError", "param": None, "code": 400,
        "message": "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be "
                   "'text' or 'json_object'\", 'input': 'json_schema'}]",
    }),
    ("llama.cpp", 400, {"error": {
        "code": 400, "type": "invalid_request_error",
        "message": "Failed to initialize samplers: failed to parse grammar",
    }}),
    ("llama.cpp-schema", 400, {"error": {
        "code": 400, "type": "invalid_request_error",
        "message": "JSON schema conversion failed:\nUnrecognized schema: {\"type\":\"date\"}",
    }}),
    ("llama.cpp-old", 500, {"error": {
        "code": 500, "type": "server_error",
        "message": 'Either "json_schema" or "grammar" can be specified, but not both',
    }}),
    ("ollama", 500, {"error": "invalid JSON schema in format"}),
    ("ollama-old", 400, {"error": 'invalid format: expected "json" or a JSON schema'}),
    ("ollama-model", 500, {"error": "failed to load model vocabulary required for format"}),
    ("tgi", 422, {
        "error": "Failed to deserialize the JSON body into the target type: response_format: unknown variant "
                 "`json_schema`, expected `json_object` or `regex`", "error_type": "validation",
    }),
    ("anthropic", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "output_config.format: Extra inputs are not permitted",
    }}),
    ("anthropic-model", 400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "'claude-3-haiku-20240307' does not support output format.",
    }}),
    ("gemini", 400, {"error": {
        "code": 400, "message": "JSON mode is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT",
    }}),
    ("gemini-type", 400, {"error": {
        "code": 400, "message": "Response mime type 'application/json' is not supported", "status": "INVALID_ARGUMENT",
    }}),
]  # fmt: skip
"""What servers say if they don't take a form, as bug reports and their code have it."""


@STREAMED
@pytest.mark.parametrize(("status", "body"), [each[1:] for each in REFUSALS], ids=[each[0] for each in REFUSALS])
async def test_a_refusal_in_the_words_of_each_server_is_remembered_for_its_address(
    provider: Provider, models: Models, status: int, body: dict[str, Any], on_token: OnToken | None
) -> None:
    refusal = Raw(json.dumps(body).encode(), status=status, kind="application/json")
    async with provider.serve([refusal, Json({"n": 1})]) as server, provider.serve([Json({"n": 2})]) as other:
        call = call_of(provider.settings(server), CLOSED)
        with pytest.raises(JsonFormRefused):
            await models.reply(call, on_token)
        for _ in range(2):
            assert json.loads((await models.reply(call, on_token)).text) == {"n": 1}
        await models.reply(call_of(provider.settings(other), CLOSED), on_token)
    refused, *later = [asked_in(request.body) for request in server.requests]
    assert refused not in later
    assert later[0] == later[1]
    assert asked_in(other.requests[0].body) == refused


def asked_in(body: dict[str, Any]) -> Any:
    """What in a request of any provider asks for JSON, besides the prompt."""
    names = ("response_format", "format", "generationConfig", "output_format", "output_config", "tools")
    return {name: body[name] for name in names if name in body}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "the prompt is too long"),
        (401, "the key for response_format"),
        (500, "no space left in schema public"),
        (503, "grammar"),
    ],
)
async def test_other_errors_are_no_refusal_of_a_form(
    provider: Provider, models: Models, status: int, message: str
) -> None:
    async with provider.serve([Status(status, message=message), Json({"n": 1})]) as server:
        call = call_of(provider.settings(server), CLOSED)
        with pytest.raises(ModelError) as caught:
            await models.reply(call)
        await models.reply(call)
    assert not isinstance(caught.value, JsonFormRefused)
    assert asked_in(server.requests[0].body) == asked_in(server.requests[1].body)


async def test_a_provider_without_any_parameter_for_json_is_asked_in_words(models: Models) -> None:
    """LiteLLM refuses to send the parameter to some."""
    async with OPENAI.serve([Json({"n": 1})]) as server:
        call = call_of(OPENAI.settings(server, provider="nlp_cloud", model="m"), CLOSED)
        with pytest.raises(JsonFormRefused):
            await models.reply(call)
    assert server.requests == []
