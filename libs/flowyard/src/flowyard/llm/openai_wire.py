"""Requests in OpenAI's chat-completions format, over aiohttp and without LiteLLM: a twentieth of its CPU time per call.

Format: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from time import perf_counter
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from flowyard.errors.steps import ModelError
from flowyard.language.nodes import ModelSettings
from flowyard.language.secret_references import HEADERS
from flowyard.llm import failures
from flowyard.llm.calls import IDEMPOTENCY_KEY, REPLY_LIMIT, ModelCall, ModelReply, OnToken
from flowyard.llm.direct_prices import Billing
from flowyard.llm.event_stream import ENCODINGS, BrokenReply, too_large
from flowyard.llm.failures import Secrets
from flowyard.llm.json_forms import response_format
from flowyard.llm.messages import openai_message
from flowyard.llm.openai_replies import StreamedReply, read_reply
from flowyard.outbound.broken_chunks import notify_readers
from flowyard.outbound.lost_answers import why_lost
from flowyard.outbound.proxies import credentials, proxy_fault, shown

_REST_TIMEOUT_S: Final = 0.05
_ERROR_LIMIT: Final = 64_000
"""Bytes of an error's body that are read."""
_EVENTS: Final = "text/event-stream"
_CLOSES_CONNECTION: Final = frozenset({"llama.cpp"})
"""Servers that close the connection after each stream, although their headers say that they keep it open."""

_NOT_IN_BODY: Final = frozenset({*HEADERS, "extra_body"})
_NO_ANSWER: Final = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises if a request can't be sent, or if its answer can't be read as HTTP."""

notify_readers()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url`: without `/chat/completions`. `model`: the server's name of it. `reply_limit`: most bytes of a reply.

    `headers`: replace ours. `secrets`: masked in errors, besides the key and the call's secrets.
    `limit_parameter`: what the limit of a reply's tokens is called. `counts_always`: a stream has token counts without
    the option that asks for them.
    """

    url: str
    model: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Secrets = field(default=frozenset(), repr=False)
    reply_limit: int = REPLY_LIMIT
    limit_parameter: str = "max_tokens"
    counts_always: bool = False
    proxy: str | None = field(default=None, repr=False)


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """For any number of calls at the same time. It has no timeout, since each call has its own, and no cookies."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


async def chat(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    call: ModelCall,
    on_token: OnToken | None,
    *,
    max_tokens: int | None,
) -> tuple[ModelReply, Billing]:
    """Sends one request. The reply has no cost: it is computed from the second value.

    `max_tokens`: the limit if the settings have none. `session`: of `open_session`.

    Raises ModelError. The whole call, to the last token, takes at most `call.settings.timeout` seconds.
    """
    if endpoint.proxy and (fault := proxy_fault(endpoint.proxy)) is not None:
        raise failures.refused(call.settings, fault)
    body = _body(endpoint, call, stream=on_token is not None, max_tokens=max_tokens)
    started = perf_counter()
    try:
        async with asyncio.timeout(call.settings.timeout):
            request = session.post(
                f"{endpoint.url}/chat/completions",
                data=body,
                headers=_headers(endpoint, call),
                allow_redirects=False,
                proxy=endpoint.proxy,
            )
            async with request as response:
                if response.status == 407 and endpoint.proxy:
                    raise failures.proxy_refused(call.settings, shown(endpoint.proxy))
                if not response.ok or response.status >= 300:
                    raise await _error_response(response, endpoint, call)
                return await _read(response, endpoint, call, on_token, started=started)
    except TimeoutError as error:
        raise failures.timed_out(call.settings) from error
    except _NO_ANSWER as error:
        raise _connection_error(error, endpoint, call.settings, _secrets(endpoint, call)) from error


def _secrets(endpoint: Endpoint, call: ModelCall) -> Secrets:
    key = {endpoint.key} if endpoint.key else set()
    return endpoint.secrets | call.secrets | key | credentials(endpoint.proxy)


def _headers(endpoint: Endpoint, call: ModelCall) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ENCODINGS}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    headers.update(endpoint.headers)
    if call.key is not None:
        headers[IDEMPOTENCY_KEY] = call.key
    return headers


def _body(endpoint: Endpoint, call: ModelCall, *, stream: bool, max_tokens: int | None) -> bytes | BytesIO:
    settings = call.settings
    body = {name: value for name, value in settings.extra.items() if name not in _NOT_IN_BODY}
    more = settings.extra.get("extra_body")
    body.update(more if isinstance(more, Mapping) else {})
    optional = {
        "model": endpoint.model,
        "messages": [openai_message(message) for message in call.messages],
        "temperature": settings.temperature,
        endpoint.limit_parameter: settings.max_tokens or max_tokens,
        "response_format": response_format(call),
        **(call.offer.parameters if call.offer is not None else {}),
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream and not endpoint.counts_always else None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    encoded = json.dumps(body).encode()
    # Of a larger text that is no file, aiohttp warns.
    return encoded if len(encoded) < 1_000_000 else BytesIO(encoded)


async def _read(
    response: aiohttp.ClientResponse, endpoint: Endpoint, call: ModelCall, on_token: OnToken | None, *, started: float
) -> tuple[ModelReply, Billing]:
    try:
        if on_token is None and response.content_type != _EVENTS:
            body = await _read_body(response, endpoint.reply_limit)
            if len(body) > endpoint.reply_limit:
                raise too_large(endpoint.reply_limit)
            return read_reply(body)
        # Some servers stream whatever they are asked for.
        return await _read_stream(response, endpoint, on_token or _ignore, started=started)
    except BrokenReply as error:
        raise failures.from_broken_reply(call.settings, error, _secrets(endpoint, call)) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise failures.broken(call.settings, "the answer is not a chat completion") from error


def _ignore(_: str) -> None:
    """A token that nobody waits for."""


async def _read_stream(
    response: aiohttp.ClientResponse, endpoint: Endpoint, on_token: OnToken, *, started: float
) -> tuple[ModelReply, Billing]:
    protocol = response.connection.protocol if response.connection else None
    if protocol is not None and response.headers.get("server") in _CLOSES_CONNECTION:
        protocol.force_close()
    reply = StreamedReply(on_token, endpoint.reply_limit, started=started)
    while chunk := await response.content.readany():
        reply.feed(chunk)
        if reply.is_complete:
            await _read_rest(response)
            break
    return reply.end()


async def _read_rest(response: aiohttp.ClientResponse) -> None:
    """Reads to the end of the response: only then can the connection be used again. Some servers never end it."""
    try:
        async with asyncio.timeout(_REST_TIMEOUT_S):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, TimeoutError):
        response.close()


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The decoded body; of a larger one, its beginning, which is longer than `limit` bytes."""
    if (response.content_length or limit + 1) <= limit and "Content-Encoding" not in response.headers:
        # No more can come, so it needn't be counted.
        return await response.read()
    body = bytearray()
    while len(body) <= limit and (chunk := await response.content.readany()):
        body += chunk
    return bytes(body)


async def _error_response(response: aiohttp.ClientResponse, endpoint: Endpoint, call: ModelCall) -> ModelError:
    body = b""
    # What can't be unpacked says nothing, but the status does.
    with suppress(aiohttp.ClientPayloadError):
        body = (await _read_body(response, _ERROR_LIMIT))[:_ERROR_LIMIT]
    return failures.from_response(
        replace(call.settings, api_base=endpoint.url),
        response.status,
        body.decode(errors="replace"),
        headers=response.headers,
        secrets=_secrets(endpoint, call),
        now=datetime.now(UTC),
    )


def _connection_error(error: Exception, endpoint: Endpoint, settings: ModelSettings, secrets: Secrets) -> ModelError:
    chain = list(failures.chain(error))
    through = f" through the proxy {shown(endpoint.proxy)}" if endpoint.proxy else ""
    detail = f"{endpoint.url}{through} ({why_lost(chain)})"
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
        return failures.proxy_refused(settings, shown(endpoint.proxy or ""))
    if isinstance(error, aiohttp.ClientConnectorError) and not endpoint.proxy:
        return failures.unreachable(replace(settings, api_base=endpoint.url), f"can't connect to {detail}", secrets)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return failures.never_sent(settings, f"can't connect to {detail}", secrets)
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return failures.refused(settings, f"the request can't be sent to {detail}", secrets)
    if any(isinstance(each, HttpProcessingError) for each in chain):
        return failures.broken(settings, f"can't read the answer of {detail}", secrets)
    return failures.broken(settings, f"lost the connection to {detail}", secrets)
