"""Requests in OpenAI's chat-completions format, without LiteLLM: a fifth of its CPU time per call.

Format: https://platform.openai.com/docs/api-reference/chat. The caller knows prices: `cost_usd` is always None here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import httpx

from flowyard.errors.steps import ModelError, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm import failures
from flowyard.llm.calls import IDEMPOTENCY_KEY, REPLY_LIMIT, ModelCall, ModelReply, OnToken
from flowyard.llm.event_stream import BrokenReply, too_large
from flowyard.llm.failures import Secrets
from flowyard.llm.json_forms import response_format
from flowyard.llm.openai_replies import StreamedReply, read_reply

_REST_TIMEOUT_S: Final = 0.05
_ERROR_LIMIT: Final = 64_000
"""Bytes of an error's body that are read."""
_CLOSES_CONNECTION: Final = frozenset({"llama.cpp"})
"""Servers that close the connection after each stream, although their headers say that they keep it open."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url`: without `/chat/completions`. `model`: the server's name of it. `reply_limit`: most bytes of a reply."""

    url: str
    model: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    reply_limit: int = REPLY_LIMIT


async def chat(
    client: httpx.AsyncClient,
    endpoint: Endpoint,
    call: ModelCall,
    on_token: OnToken | None,
    *,
    max_tokens: int | None,
    secrets: Secrets = frozenset(),
) -> ModelReply:
    """Sends one request. `max_tokens`: the limit if the settings have none. `client`: without a timeout of its own.

    `secrets`: masked in errors, besides the endpoint's key and the call's secrets.

    Raises ModelError. The whole call, to the last token, takes at most `call.settings.timeout` seconds.
    """
    body = _body(endpoint, call, stream=on_token is not None, max_tokens=max_tokens)
    headers = {**({"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}), **endpoint.headers}
    if call.key is not None:
        headers[IDEMPOTENCY_KEY] = call.key
    secrets |= call.secrets | ({endpoint.key} if endpoint.key else set())
    started = perf_counter()
    try:
        async with asyncio.timeout(call.settings.timeout):
            request = client.stream("POST", f"{endpoint.url}/chat/completions", json=body, headers=headers)
            async with request as response:
                if not response.is_success:
                    raise await _error_response(response, call.settings, secrets)
                if on_token is None:
                    return await _read_whole(response, endpoint.reply_limit)
                return await _read_stream(response, endpoint, on_token, started=started)
    except TimeoutError as error:
        raise failures.timed_out(call.settings) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _connection_error(error, endpoint.url, call.settings, secrets) from error
    except BrokenReply as error:
        raise failures.from_broken_reply(call.settings, error, secrets) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise failures.broken(call.settings, "the answer is not a chat completion") from error


def _body(endpoint: Endpoint, call: ModelCall, *, stream: bool, max_tokens: int | None) -> dict[str, Any]:
    settings = call.settings
    optional = {
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens or max_tokens,
        "response_format": response_format(call),
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    messages = [{"role": message.role, "content": message.content} for message in call.messages]
    given = {name: value for name, value in optional.items() if value is not None}
    return {**settings.extra, "model": endpoint.model, "messages": messages, **given}


async def _read_stream(
    response: httpx.Response, endpoint: Endpoint, on_token: OnToken, *, started: float
) -> ModelReply:
    reply = StreamedReply(on_token, endpoint.reply_limit, started=started)
    chunks = response.aiter_bytes()
    async for chunk in chunks:
        reply.feed(chunk)
        if reply.is_complete:
            if response.headers.get("server") not in _CLOSES_CONNECTION:
                await _read_rest(chunks)
            break
    return reply.end()


async def _read_rest(chunks: AsyncIterator[bytes]) -> None:
    """Reads to the end of the response: only then can the connection be used again. Some servers never end it."""
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_REST_TIMEOUT_S):
            async for _ in chunks:
                pass


async def _read_body(response: httpx.Response, limit: int) -> bytes:
    """The decoded body; of a larger one, its beginning, which is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


async def _read_whole(response: httpx.Response, limit: int) -> ModelReply:
    body = await _read_body(response, limit)
    if len(body) > limit:
        raise too_large(limit)
    return read_reply(body)


async def _error_response(response: httpx.Response, settings: ModelSettings, secrets: Secrets) -> ModelError:
    body = (await _read_body(response, _ERROR_LIMIT))[:_ERROR_LIMIT]
    return failures.from_response(
        settings,
        response.status_code,
        body.decode(errors="replace"),
        headers=response.headers,
        secrets=secrets,
        now=datetime.now(UTC),
    )


def _connection_error(
    error: httpx.HTTPError | httpx.InvalidURL, url: str, settings: ModelSettings, secrets: Secrets
) -> ProviderError:
    detail = f"{url} ({str(error) or type(error).__name__})"
    if isinstance(error, httpx.ConnectError | httpx.InvalidURL | httpx.UnsupportedProtocol):
        return failures.never_sent(settings, f"can't connect to {detail}", secrets)
    return failures.broken(settings, f"lost the connection to {detail}", secrets)
