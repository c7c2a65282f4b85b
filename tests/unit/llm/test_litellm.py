"""What only LiteLLM does, or does wrongly and we make good."""

from __future__ import annotations

import socket
import traceback
from typing import Any

import pytest

from flowyard.errors.steps import ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import Models
from support.wire.behaviour import Json, Status, Text
from support.wire.providers import ANTHROPIC, KEY, OLLAMA, OPENAI

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string"}},
    "required": ["category"],
    "additionalProperties": False,
}
STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])


def call_of(settings: ModelSettings, schema: dict[str, Any] | None = None) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),), schema)


@STREAMED
async def test_a_key_that_only_litellm_knows_is_in_no_message_either(
    models: Models, monkeypatch: pytest.MonkeyPatch, on_token: OnToken | None
) -> None:
    monkeypatch.setenv("LAMBDA_API_KEY", KEY)
    async with OPENAI.serve([Status(401, message="wrong key: {key}, team sesame-team")]) as server:
        headers = {"extra_headers": {"X-Team": "sesame-team"}}
        settings = ModelSettings("lambda_ai", "m", api_base=server.url, extra=headers)
        with pytest.raises(ModelRefused, match=r"wrong key: \*\*\*, team \*\*\*$") as caught:
            await models.reply(call_of(settings), on_token)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    assert "sesame-team" not in shown


async def test_an_unknown_provider_is_refused_with_the_nearest_name(models: Models) -> None:
    with pytest.raises(ModelRefused, match=r"did you mean 'openai'\?"):
        await models.reply(call_of(ModelSettings("opnai", "gpt-4o-mini")))


async def test_a_refused_key_is_named_by_its_variable(models: Models) -> None:
    async with OPENAI.serve([Status(401, message="Incorrect API key")]) as server:
        with pytest.raises(ModelRefused) as caught:
            await models.reply(call_of(OPENAI.settings(server)))
    wanted = "openai/gpt-4o-mini: the key in OPENAI_API_KEY was not accepted (401): Incorrect API key"
    assert caught.value.message == wanted


async def test_a_model_without_structured_output_gets_the_schema_as_a_tool(models: Models) -> None:
    async with ANTHROPIC.serve([Json({"category": "bug"})]) as server:
        reply = await models.reply(call_of(ANTHROPIC.settings(server, model="claude-3-5-haiku-20241022"), SCHEMA))
    assert reply.text == '{"category": "bug"}'
    assert server.requests[0].body["tools"][0]["input_schema"] == SCHEMA


async def test_an_unknown_price_is_none(models: Models) -> None:
    async with OPENAI.serve([Text("hi")]) as server:
        reply = await models.reply(call_of(OPENAI.settings(server, model="my-own-model")))
    assert reply.cost_usd is None
    assert reply.usage.tokens_in == 20


async def test_any_other_provider_of_litellm_goes_by_its_name(models: Models) -> None:
    async with OPENAI.serve([Text("hi")]) as server:
        settings = ModelSettings("custom_openai", "qwen3", api_base=server.url, api_key_env="OPENAI_API_KEY")
        reply = await models.reply(call_of(settings))
    assert (reply.text, reply.cost_usd, server.requests[0].body["model"]) == ("hi", None, "qwen3")


async def test_ollama_is_called_at_its_address_and_nowhere_else(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteLLM asks localhost:11434 about the model otherwise, wherever the document says that Ollama is."""
    connected: list[int] = []
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        connected.append(address[1])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    async with OLLAMA.serve([Text("a small reply")]) as server:
        await models.reply(call_of(OLLAMA.settings(server)))
    assert 11434 not in connected


async def test_a_price_that_litellm_looks_for_in_vain_is_unknown_and_costs_no_reply(models: Models) -> None:
    """Its map has the model under another provider: so with Vertex AI's DeepSeek, Kimi, GLM, MiniMax, too."""
    async with OPENAI.serve([Text("hi")]) as server:
        extra = {"api_version": "2024-06-01"}
        settings = ModelSettings(
            "azure", "gpt-35-turbo-instruct", api_base=server.url, api_key_env="OPENAI_API_KEY", extra=extra
        )
        reply = await models.reply(call_of(settings))
    assert (reply.text, reply.cost_usd, reply.usage.tokens_out) == ("hi", None, 5)


async def test_a_model_may_repeat_itself(models: Models) -> None:
    text = " ".join(["again"] * 150)
    async with OPENAI.serve([Text(text)]) as server:
        reply = await models.reply(call_of(OPENAI.settings(server)), lambda token: None)
    assert reply.text == text
