"""The OpenAI chat-completions format, spoken directly. It costs a fifth of a call through LiteLLM.

Format: https://platform.openai.com/docs/api-reference/chat. Prices are the caller's: `cost_usd` is always None here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import httpx

from flowyard.language.nodes import ModelSettings
from flowyard.llm import failures
from flowyard.llm.calls import IDEMPOTENCY_KEY, JsonSchema, ModelCall, ModelReply, OnToken, Usage, told_tokens
from flowyard.llm.failures import Secrets
from flowyard.step_errors import ModelError, ProviderError

_REST_S: Final = 0.05
_LEAVE: Final = frozenset({"llama.cpp"})
"""Servers that close the connection after each stream, although they say that they keep it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url` ends before `/chat/completions`; `model` is the name that the server knows."""

    url: str
    model: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


async def chat(
    client: httpx.AsyncClient,
    endpoint: Endpoint,
    call: ModelCall,
    on_token: OnToken | None,
    *,
    max_tokens: int | None,
    secrets: Secrets = frozenset(),
) -> ModelReply:
    """One request. `max_tokens` counts where the settings name none. The client must have no timeout of its own.

    `secrets`: what no error may spell, besides the endpoint's key and the call's own.

    Raises ModelError. The whole call, to the last token, takes at most `call.settings.timeout` seconds.
    """
    body = _body(endpoint, call, stream=on_token is not None, max_tokens=max_tokens)
    headers = {**({"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}), **endpoint.headers}
    if call.key is not None:
        headers[IDEMPOTENCY_KEY] = call.key
    secrets |= call.secrets | ({endpoint.key} if endpoint.key else set())
    asked_at = perf_counter()
    try:
        async with asyncio.timeout(call.settings.timeout):
            request = client.stream("POST", f"{endpoint.url}/chat/completions", json=body, headers=headers)
            async with request as response:
                if response.is_error:
                    raise await _refused(response, call.settings, secrets)
                if on_token is None:
                    return _read_reply(json.loads(await response.aread()))
                return await _read_stream(response, call.settings, on_token, secrets, asked_at=asked_at)
    except TimeoutError as error:
        raise failures.timed_out(call.settings) from error
    except httpx.HTTPError as error:
        raise _lost(error, endpoint.url, call.settings, secrets) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise failures.broken(call.settings, "the answer is no chat completion") from error


def response_format(schema: JsonSchema) -> dict[str, Any]:
    """A JSON Schema as OpenAI's structured output; LiteLLM translates it for every other provider."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": dict(schema)}}


def _body(endpoint: Endpoint, call: ModelCall, *, stream: bool, max_tokens: int | None) -> dict[str, Any]:
    settings = call.settings
    fields = {
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens or max_tokens,
        "response_format": response_format(call.schema) if call.schema is not None else None,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    messages = [{"role": message.role, "content": message.content} for message in call.messages]
    asked = {name: value for name, value in fields.items() if value is not None}
    return {**settings.extra, "model": endpoint.model, "messages": messages, **asked}


def _read_reply(answer: Any) -> ModelReply:
    text = answer["choices"][0]["message"].get("content") or ""
    if not isinstance(text, str):
        raise TypeError("the content is no text")
    return ModelReply(text, _usage(answer.get("usage")), None)


async def _read_stream(
    response: httpx.Response, settings: ModelSettings, on_token: OnToken, secrets: Secrets, *, asked_at: float
) -> ModelReply:
    parts: list[str] = []
    usage, first, finished = Usage(), None, False
    events = _events(response)
    async for data in events:
        if data == "[DONE]":
            finished = True
            if response.headers.get("server") not in _LEAVE:
                await _read_rest(events)
            break
        event = json.loads(data)
        if "error" in event:
            raise failures.broken(settings, failures.error_text(json.dumps(event)), secrets)
        usage = _usage(event["usage"]) if event.get("usage") else usage
        for choice in event.get("choices", ()):
            finished = finished or choice.get("finish_reason") is not None
            text = choice["delta"].get("content")
            if text:
                first = perf_counter() - asked_at if first is None else first
                parts.append(text)
                on_token(text)
    if not finished:
        raise failures.broken(settings, "the stream ended in the middle of the reply")
    return ModelReply("".join(parts), usage, None, first)


async def _read_rest(events: AsyncIterator[str]) -> None:
    """Only a connection whose answer was read to its end is used again. Some servers never end it: not for long."""
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_REST_S):
            async for _ in events:
                pass


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of each server-sent event."""
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


def _usage(usage: Any) -> Usage:
    """What can't be read is unknown: it is no reason to lose a good reply."""
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(*(told_tokens(n) for n in (usage.get("prompt_tokens"), usage.get("completion_tokens"), cached)))


async def _refused(response: httpx.Response, settings: ModelSettings, secrets: Secrets) -> ModelError:
    body = (await response.aread()).decode(errors="replace")
    said = failures.error_text(body)
    now = datetime.now(UTC)
    return failures.from_status(
        settings, response.status_code, said, headers=response.headers, secrets=secrets, now=now
    )


def _lost(error: httpx.HTTPError, url: str, settings: ModelSettings, secrets: Secrets) -> ProviderError:
    said = f"{url} ({str(error) or type(error).__name__})"
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
        return failures.unreached(settings, f"can't connect to {said}", secrets)
    return failures.broken(settings, f"lost the connection to {said}", secrets)
