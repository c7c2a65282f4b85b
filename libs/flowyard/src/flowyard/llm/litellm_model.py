"""Calls through LiteLLM: every provider but `local`, `scripted` and the direct ones.

Slow to import (see `litellm_setup`): only `models` imports it, at the first call.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import aiohttp
import httpx
import openai

from flowyard.errors.steps import MissingApiKey, ModelError, ModelNotInstalled, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.language.problems import did_you_mean
from flowyard.llm import failures, keys
from flowyard.llm.calls import IDEMPOTENCY_KEY, ModelCall, ModelReply, OnToken, ToolOffer, Usage, token_count
from flowyard.llm.clouds import CLOUDS, is_configured
from flowyard.llm.endings import BROKEN, Outcome, stopped_in_the_middle
from flowyard.llm.json_forms import response_format
from flowyard.llm.litellm_endings import add_reasoning, add_reply, add_usage, begin_outcome
from flowyard.llm.litellm_errors import Malformed, translate
from flowyard.llm.litellm_http import guarded_http
from flowyard.llm.litellm_prices import cost_of, longest_reply, price_of
from flowyard.llm.litellm_proxies import keep_private_calls_direct
from flowyard.llm.litellm_responses import GuardedCall
from flowyard.llm.litellm_setup import litellm, logging_worker, warm_up
from flowyard.llm.messages import openai_message
from flowyard.llm.providers import litellm_base
from flowyard.llm.streamed_text import StreamedText, whole_text
from flowyard.llm.terms import LITELLM_NAMES, Terms
from flowyard.llm.tool_calls import ToolCalls
from flowyard.outbound.proxies import all_credentials, proxy_fault, proxy_for, shown
from flowyard.threads import in_daemon_thread

_FAILURES: Final = (
    openai.OpenAIError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError, RecursionError, *Malformed,
)  # fmt: skip
"""What a call may raise: LiteLLM's own exceptions are OpenAIErrors; the others are those that it doesn't wrap."""

keep_private_calls_direct()


class LiteLLMModel:
    def __init__(self, environ: Mapping[str, str], reply_limit: int) -> None:
        self._environ = environ
        self._reply_limit = reply_limit
        self._warm: set[str] = set()
        self._warming = asyncio.Lock()

    async def prepare(self, settings: ModelSettings) -> None:
        """Makes LiteLLM import now what it otherwise imports in its first call: see `warm_up`.

        Raises ModelRefused or MissingApiKey, as `reply` would.
        """
        _require_provider(settings)
        keys.find_key(settings, self._environ)
        provider = LITELLM_NAMES.get(settings.provider, settings.provider)
        async with self._warming:
            # This only saves time. If it fails, the call itself still works, or reports the cause.
            with suppress(Exception):
                if provider not in self._warm:
                    await in_daemon_thread(lambda: warm_up(provider))
            self._warm.add(provider)

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        """Sends one request. The whole call, to the last token, takes at most `call.settings.timeout` seconds."""
        settings = call.settings
        _require_provider(settings)
        # The process's environment as well: where `keys` has no entry for a provider, LiteLLM finds the key there.
        access = keys.access_to(settings, self._environ, os.environ)
        secrets = access.secrets | call.secrets | all_credentials(os.environ)
        # Where nobody names the address, LiteLLM's own is somewhere in the world.
        proxy = proxy_for(settings.api_base or "https://api.example.com", os.environ)
        if proxy and (fault := proxy_fault(proxy)) is not None:
            raise failures.refused(settings, fault)
        guarded = GuardedCall(self._reply_limit, LITELLM_NAMES.get(settings.provider, settings.provider))
        try:
            async with asyncio.timeout(settings.timeout):
                with guarded_http(guarded):
                    return await _send(call, access.key, on_token, guarded)
        except ModelError:
            raise
        except ImportError as error:
            package = error.name or "of this provider"
            raise ModelNotInstalled(
                provider=settings.provider, package=package, install=f"pip install {package}"
            ) from error
        except TimeoutError as error:
            raise failures.timed_out(settings) from error
        except _FAILURES as error:
            through = shown(proxy) if proxy else None
            failure = translate(
                error, settings, secrets=secrets, now=datetime.now(UTC), proxy=through, is_answered=guarded.is_answered
            )
            cause = failures.cause_of(error, secrets)
        # Outside of the except block: else an error that contains the key would be the context of this one.
        raise failure from cause


@asynccontextmanager
async def open_litellm(environ: Mapping[str, str], reply_limit: int) -> AsyncIterator[LiteLLMModel]:
    """`reply_limit`: most bytes of a reply.

    Closes LiteLLM's HTTP clients at the end. They belong to the process: a second open block loses its own, too."""
    try:
        yield LiteLLMModel(environ, reply_limit)
    finally:
        await litellm.close_litellm_async_clients()
        # The streams of some providers use this client, which the function above doesn't close.
        await litellm.module_level_aclient.close()
        await logging_worker.GLOBAL_LOGGING_WORKER.stop()
        # Else the next block would get a closed client from the cache.
        litellm.in_memory_llm_clients_cache.flush_cache()


def terms_of(settings: ModelSettings, *, prompt: int) -> Terms:
    """The model's price for a prompt of at most `prompt` tokens, and its longest reply."""
    provider = LITELLM_NAMES.get(settings.provider, settings.provider)
    return Terms(price_of(provider, settings, prompt=prompt), longest_reply(provider, settings.model))


def check_provider(settings: ModelSettings, environ: Mapping[str, str]) -> None:
    """Checks a provider that `keys` has no entry for. Raises ModelRefused, MissingApiKey or InvalidApiKey."""
    _require_provider(settings)
    if settings.api_key_env or keys.is_loopback(settings.api_base):
        return
    if (cloud := CLOUDS.get(settings.provider)) is not None:
        if not is_configured(cloud, settings, environ):
            raise MissingApiKey(provider=settings.provider, model=settings.model, variable=cloud.variable)
        if cloud.has_key:
            keys.check_value(settings, cloud.variable, environ)
        return
    variables = litellm.validate_environment(f"{settings.provider}/{settings.model}")["missing_keys"]
    missing = [name for name in variables if not environ.get(name, "").strip()]
    if missing:
        raise MissingApiKey(provider=settings.provider, model=settings.model, variable=missing[0])
    keys.check_value(settings, f"{settings.provider.upper()}_API_KEY", environ)


def _require_provider(settings: ModelSettings) -> None:
    if settings.provider == "aiohttp_openai":
        # Its client reads answers without a limit.
        raise ModelRefused(
            "use the provider openai_like, which speaks the same format",
            provider=settings.provider,
            model=settings.model,
        )
    if settings.provider in LITELLM_NAMES or settings.provider in litellm.provider_list:
        return
    known = (str(getattr(name, "value", name)) for name in litellm.provider_list)
    near = did_you_mean(settings.provider, (*LITELLM_NAMES, "local", "scripted", *known))
    detail = f"no such provider ({near})" if near else "no such provider: LiteLLM doesn't know it"
    raise ModelRefused(detail, provider=settings.provider, model=settings.model)


async def _send(call: ModelCall, key: str | None, on_token: OnToken | None, guarded: GuardedCall) -> ModelReply:
    provider = LITELLM_NAMES.get(call.settings.provider, call.settings.provider)
    started = perf_counter()
    outcome, calls = begin_outcome(), ToolCalls(guarded.limit)
    response = await litellm.acompletion(**_parameters(call, provider, key, stream=on_token is not None))
    if on_token is None:
        text, last, first_token_s = whole_text(response.choices[0].message.content or ""), response, None
        outcome.identify(getattr(response, "model", None), getattr(response, "id", None))
        add_reply(outcome, response.choices[0])
        calls.add(_pieces_of(response.choices[0].message))
    else:
        streamed = StreamedText(on_token, guarded.limit, started=started)
        last = await _read_stream(response, streamed, outcome, calls)
        if not _is_complete(response, guarded):
            raise failures.broken(call.settings, "the stream ended in the middle of the reply")
        text, first_token_s = streamed.end(), streamed.first_token_s
    if outcome.reason in BROKEN:
        raise failures.broken(call.settings, stopped_in_the_middle(outcome.reason))
    usage, billable = _usage(getattr(last, "usage", None) if guarded.counts else None)
    cost = cost_of(provider, call.settings, billable, tier=getattr(last, "service_tier", None))
    add_usage(outcome, getattr(last, "usage", None))
    ending, reasoning = outcome.ending(text), outcome.reasoning.text()
    return ModelReply(text, usage, cost, first_token_s, ending, reasoning, outcome.origin(), calls.end())


def _pieces_of(message: Any) -> list[dict[str, Any]]:
    """The calls of tools in LiteLLM's message or delta, as JSON."""
    return [
        {
            "index": getattr(call, "index", None),
            "id": call.id,
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in getattr(message, "tool_calls", None) or ()
        if getattr(call, "function", None) is not None
    ]


def _parameters(call: ModelCall, provider: str, key: str | None, *, stream: bool) -> dict[str, Any]:
    settings = call.settings
    optional = {
        "api_key": key,
        "api_base": litellm_base(settings),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "response_format": response_format(call),
        **(_offer(call.offer, call.settings, provider) if call.offer is not None else {}),
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
        "extra_headers": _headers(call),
    }
    return {
        **settings.extra,
        "model": f"{provider}/{settings.model}",
        "messages": [openai_message(message) for message in call.messages],
        "timeout": settings.timeout,
        # The node retries, nobody else: `num_retries` is LiteLLM's loop, `max_retries` that of the SDK below it.
        "num_retries": 0,
        # For each tool it would look whether that is one of its own proxy's, with a package that we don't have.
        "_skip_mcp_handler": True,
        "max_retries": 0,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _offer(offer: ToolOffer, settings: ModelSettings, provider: str) -> dict[str, Any]:
    parameters = offer.parameters
    known = litellm.get_supported_openai_params(model=settings.model, custom_llm_provider=provider) or ()
    if "parallel_tool_calls" not in known:
        # LiteLLM refuses the call, and what is lost is a wish.
        parameters.pop("parallel_tool_calls", None)
    return parameters


def _headers(call: ModelCall) -> dict[str, str] | None:
    if call.key is None:
        return None
    return {**(call.settings.extra.get("extra_headers") or {}), IDEMPOTENCY_KEY: call.key}


async def _read_stream(stream: Any, streamed: StreamedText, outcome: Outcome, calls: ToolCalls) -> Any:
    """Reads the text, and how it ended. Returns the chunk with the usage. `stream`: LiteLLM's CustomStreamWrapper."""
    last = None
    try:
        async for chunk in stream:
            last = chunk if getattr(chunk, "usage", None) else last
            outcome.identify(getattr(chunk, "model", None), getattr(chunk, "id", None))
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            add_reasoning(outcome, delta)
            calls.add(_pieces_of(delta))
            if delta.content:
                streamed.add(delta.content)
    finally:
        await stream.aclose()
    outcome.reason = outcome.reason or _reason(stream)
    return last


def _is_complete(stream: Any, guarded: GuardedCall) -> bool:
    return guarded.is_complete if guarded.is_complete is not None else _reason(stream) is not None


def _reason(stream: Any) -> str | None:
    """The provider's finish reason: LiteLLM ends every stream with one of its own."""
    reason: str | None = stream.received_finish_reason or stream.intermittent_finish_reason
    return reason


def _usage(usage: Any) -> tuple[Usage, Any]:
    """LiteLLM's usage as ours, and the unchanged object for the price, or None if no price can be computed of it."""
    details = getattr(usage, "prompt_tokens_details", None)
    # LiteLLM has 0 where the answer has nothing, and no prompt has 0 tokens.
    tokens = getattr(usage, "prompt_tokens", None) or None, getattr(usage, "completion_tokens", None)
    if not any(tokens):
        return Usage(), None
    reported = (*tokens, getattr(details, "cached_tokens", None))
    counts = tuple(token_count(value) for value in reported)
    return Usage(*counts), usage if counts == reported and counts[0] is not None else None
