"""The attributes of a model call, named by OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from flowyard.export.text import as_json, clean
from flowyard.language.nodes import Node
from flowyard.runs.events import ModelCalled

_PROVIDER_NAMES: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""`gen_ai.provider.name` of the providers that we name differently."""
_OUTPUT_TYPES: Final[Mapping[bool | None, str | None]] = {True: "json", False: "text", None: None}
_MAX_MESSAGES: Final = 100_000


def call_attributes(call: ModelCalled, node: Node | None) -> dict[str, str | bool | int | float | tuple[str, ...]]:
    """Unknown values are left out. Prompts and replies are included if the node logs them."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDER_NAMES.get(call.provider, clean(call.provider)),
        "gen_ai.request.model": clean(call.model),
        "gen_ai.usage.input_tokens": call.tokens_in,
        "gen_ai.usage.output_tokens": call.tokens_out,
        "gen_ai.usage.cache_read.input_tokens": call.tokens_cached,
        "gen_ai.request.stream": call.streamed or None,
        "gen_ai.output.type": _OUTPUT_TYPES[call.asks_json],
        "gen_ai.response.model": _served_by(call),
        "gen_ai.response.id": clean(call.reply_id) if call.reply_id is not None else None,
        "gen_ai.response.finish_reasons": (clean(call.finish_reason),) if call.finish_reason is not None else None,
        "gen_ai.response.time_to_first_chunk": call.first_token_s,
        "error.type": call.error.code if call.error is not None else None,
        "flowyard.provider": clean(call.provider),
        "flowyard.retries": call.retries,
        **_request_attributes(call, node),
        **_messages(call),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _served_by(call: ModelCalled) -> str | None:
    # An answer that is from the model that was asked doesn't repeat its name in the event.
    has_answered = call.finish_reason is not None or call.reply_id is not None
    name = call.served_by or (call.model if has_answered else None)
    return clean(name) if name is not None else None


def _request_attributes(call: ModelCalled, node: Node | None) -> dict[str, Any]:
    models = node.models if node is not None else ()
    settings = next((model for model in models if (model.provider, model.model) == (call.provider, call.model)), None)
    if settings is None:
        return {}
    address = urlsplit(settings.api_base or "")
    try:
        port = address.port
    except ValueError:
        port = None
    return {
        "gen_ai.request.temperature": settings.temperature,
        "gen_ai.request.max_tokens": settings.max_tokens,
        "server.address": address.hostname,
        "server.port": port,
    }


def _messages(call: ModelCalled) -> dict[str, str]:
    texts: dict[str, str] = {}
    if call.messages is not None:
        parts = [
            (message.get("role"), {"type": "text", "content": message.get("content")}) for message in call.messages
        ]
        texts["gen_ai.input.messages"] = _json([{"role": r, "parts": [part]} for r, part in parts if r != "system"])
        if system := [part for role, part in parts if role == "system"]:
            texts["gen_ai.system_instructions"] = _json(system)
    if call.reply is not None:
        reply = {"role": "assistant", "parts": [{"type": "text", "content": call.reply}]}
        texts["gen_ai.output.messages"] = _json([{**reply, "finish_reason": call.finish_reason or "unknown"}])
    return texts


def _json(value: Sequence[Any]) -> str:
    return as_json(value, max_length=_MAX_MESSAGES)
