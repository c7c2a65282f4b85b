"""What goes over the wire to each provider, and what comes back.

What every transport promises: the fixture `provider` is each of them.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, Usage
from flowyard.llm.models import Models
from support.wire.behaviour import Json, Odd, Pieces, Text
from support.wire.providers import ANTHROPIC, GOOGLE, OLLAMA, OPENAI, Provider

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["bug", "billing"]}},
    "required": ["category"],
    "additionalProperties": False,
}
MESSAGES = (ChatMessage("system", "Be brief."), ChatMessage("user", "Hello?"))
COSTS = {
    "openai": Decimal("0.0000057"),
    "anthropic": Decimal("0.0001242"),
    "google": Decimal("0.00001742"),
    "ollama": Decimal(0),
    "hosted_vllm": None,
}


def call_of(settings: ModelSettings, schema: dict[str, Any] | None = None) -> ModelCall:
    return ModelCall("write", settings, MESSAGES, schema)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_reply_comes_with_its_usage_and_cost(provider: Provider, models: Models, *, streamed: bool) -> None:
    tokens: list[str] = []
    async with provider.serve([Text("a small reply", tokens_in=20, tokens_out=5, cached=4)]) as server:
        reply = await models.reply(call_of(provider.settings(server)), tokens.append if streamed else None)
        await asyncio.sleep(0.05)  # LiteLLM's afterthoughts would ask Ollama for more in this time
        assert len(server.requests) == 1
    assert reply.text == "a small reply"
    assert reply.usage == Usage(20, 5, None if provider is OLLAMA else 4)
    assert reply.cost_usd == COSTS[provider.name]
    assert tokens == (["a", " small", " reply"] if streamed else [])
    assert (reply.first_token_s is not None) == streamed


async def test_a_call_is_one_request_with_the_key_in_its_header(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("hi")]) as server:
        await models.reply(call_of(provider.settings(server)))
    assert [request.headers.get(provider.key_header) for request in server.requests] == [provider.key_value]


async def test_a_call_carries_a_key_because_it_may_come_twice(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("hi")]) as server:
        await models.reply(ModelCall("write", provider.settings(server), MESSAGES, key="run:write:1"))
    assert [request.headers.get("idempotency-key") for request in server.requests] == ["run:write:1"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_schema_travels_in_the_providers_own_form(
    provider: Provider, models: Models, *, streamed: bool
) -> None:
    async with provider.serve([Json({"category": "bug"})]) as server:
        settings = provider.settings(server)
        reply = await models.reply(call_of(settings, SCHEMA), (lambda token: None) if streamed else None)
    assert reply.text == '{"category": "bug"}'
    body = server.requests[0].body
    assert _schema_in(body) == {
        ANTHROPIC: {"type": "json_schema", "schema": SCHEMA},
        GOOGLE: {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
        OLLAMA: SCHEMA,
    }.get(provider, {"name": "reply", "strict": True, "schema": SCHEMA})


def _schema_in(body: dict[str, Any]) -> Any:
    """What stands where each provider wants a schema."""
    if "response_format" in body:
        return body["response_format"]["json_schema"]
    return body.get("output_format") or body.get("generationConfig") or body["format"]


async def test_settings_reach_the_provider(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("hi")]) as server:
        settings = provider.settings(server, temperature=0.3, max_tokens=7, extra={"top_p": 0.9})
        await models.reply(call_of(settings))
    body = server.requests[0].body
    sent = {"google": body.get("generationConfig"), "ollama": body.get("options")}.get(provider.name) or body
    names = {"google": "max_output_tokens", "ollama": "num_predict"}
    assert (sent["temperature"], sent["top_p"], sent[names.get(provider.name, "max_tokens")]) == (0.3, 0.9, 7)


async def test_messages_and_the_model_reach_the_provider(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("hi")]) as server:
        await models.reply(call_of(provider.settings(server)))
    request = server.requests[0]
    assert provider.model in (request.path if provider is GOOGLE else request.body["model"])
    assert _said(provider, request.body) == [("system", "Be brief."), ("user", "Hello?")]


def _said(provider: Provider, body: dict[str, Any]) -> list[tuple[str, str]]:
    """The conversation in the provider's own form: two of them keep the system message apart."""
    if provider is GOOGLE:
        system = [("system", part["text"]) for part in body["system_instruction"]["parts"]]
        return system + [(turn["role"], part["text"]) for turn in body["contents"] for part in turn["parts"]]
    messages = [(message["role"], _text(message["content"])) for message in body["messages"]]
    return [("system", _text(body["system"])), *messages] if provider is ANTHROPIC else messages


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_usage_that_was_not_reported_is_none(models: Models, *, streamed: bool) -> None:
    async with OPENAI.serve([Text("hi there", counted=False)]) as server:
        reply = await models.reply(call_of(OPENAI.settings(server)), (lambda token: None) if streamed else None)
    assert (reply.text, reply.usage, reply.cost_usd) == ("hi there", Usage(), None)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("reported", "known"),
    [
        ({"prompt_tokens": 3_000_000_000}, Usage(None, 5)),
        ({"prompt_tokens": 10**30}, Usage(None, 5)),
        ({"prompt_tokens": -1}, Usage(None, 5)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": -4}}, Usage(3, 5)),
    ],
    ids=str,
)
async def test_a_usage_that_cant_be_so_is_unknown_and_has_no_price(
    models: Models, reported: dict[str, Any], known: Usage, *, streamed: bool
) -> None:
    said = {"role": "assistant", "content": "a reply"}
    choice = {"index": 0, "message": said, "delta": said, "finish_reason": "stop"}
    answer = {"id": "x", "created": 1, "model": "gpt-4o-mini", "choices": [choice]}
    usage = {"completion_tokens": 5, "total_tokens": 8, **reported}
    async with OPENAI.serve([Odd({**answer, "usage": usage})]) as server:
        reply = await models.reply(call_of(OPENAI.settings(server)), (lambda token: None) if streamed else None)
    assert (reply.text, reply.usage, reply.cost_usd) == ("a reply", known, None)


async def test_an_empty_reply_is_empty_text(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("")]) as server:
        assert (await models.reply(call_of(provider.settings(server)))).text == ""


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_half_a_character_is_replaced(provider: Provider, models: Models, *, streamed: bool) -> None:
    async with provider.serve([Text("a \ud800 b")]) as server:
        reply = await models.reply(call_of(provider.settings(server)), (lambda token: None) if streamed else None)
    assert reply.text == "a \ufffd b"


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [
        (["a\ud83d", "\ude00", "b"], ["a", "😀", "b"]),
        (["\ud83d", "\ude00\ud83d", "\ude00b"], ["😀", "😀b"]),
        (["a\ud83d", "b"], ["a", "\ufffdb"]),
        (["a", "b\ud83d"], ["a", "b", "\ufffd"]),
        (["\ud83d", "\ud83d"], ["\ufffd", "\ufffd"]),
        (["a", "\ude00"], ["a", "\ufffd"]),
        (["a\ude00b", "\ude00\ud83d", "\ude00"], ["a\ufffdb", "\ufffd", "😀"]),
    ],
    ids=ascii,
)
async def test_a_character_that_is_split_over_two_pieces_is_joined(
    provider: Provider, models: Models, pieces: list[str], tokens: list[str]
) -> None:
    received: list[str] = []
    async with provider.serve([Pieces(tuple(pieces))]) as server:
        reply = await models.reply(call_of(provider.settings(server)), received.append)
    assert received == tokens
    assert reply.text == "".join(tokens)


async def test_half_a_character_at_the_end_is_replaced(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("a\ud83d")]) as server:
        assert (await models.reply(call_of(provider.settings(server)))).text == "a\ufffd"


async def test_the_key_comes_from_the_variable_that_the_document_names(models: Models) -> None:
    async with OPENAI.serve([Text("hi")]) as server:
        settings = OPENAI.settings(server, model="m", api_key_env="ANTHROPIC_API_KEY")
        await models.reply(call_of(settings))
    assert server.requests[0].headers["authorization"] == OPENAI.key_value
