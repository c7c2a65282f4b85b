"""Every provider but `local` and `scripted`, through LiteLLM. Slow to import: only `models` does, at the first call."""

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

from flowyard.language.nodes import ModelSettings
from flowyard.language.problems import did_you_mean
from flowyard.llm import failures, keys
from flowyard.llm.calls import IDEMPOTENCY_KEY, ModelCall, ModelReply, OnToken, Usage, told_tokens
from flowyard.llm.failures import Secrets
from flowyard.llm.litellm_errors import Odd, translate
from flowyard.llm.litellm_prices import cost_of, longest_reply, price_of
from flowyard.llm.litellm_setup import litellm, logging_worker
from flowyard.llm.litellm_warm_up import warm_up
from flowyard.llm.openai_wire import response_format
from flowyard.llm.terms import Terms
from flowyard.llm.threads import in_daemon_thread
from flowyard.step_errors import MissingApiKey, ModelError, ModelNotInstalled, ModelRefused

OUR_NAMES: Final = {"google": "gemini", "ollama": "ollama_chat"}
"""Providers that a document names otherwise than LiteLLM. Every other name is LiteLLM's own."""

_Failed: Final = (
    openai.OpenAIError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError, RecursionError, *Odd,
)  # fmt: skip
"""LiteLLM's own exceptions are OpenAIErrors; the others are what it sometimes forgets to wrap."""


class LiteLLMModel:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._warm: set[str] = set()
        self._warming = asyncio.Lock()

    async def prepare(self, settings: ModelSettings) -> None:
        """Does what LiteLLM puts off until its first call. Raises ModelRefused or MissingApiKey, as `reply` would."""
        _known(settings)
        keys.find_key(settings, self._environ)
        provider = OUR_NAMES.get(settings.provider, settings.provider)
        async with self._warming:
            # It only saves time: whatever is wrong with it, the call itself will do or tell.
            with suppress(Exception):
                if provider not in self._warm:
                    await in_daemon_thread(lambda: warm_up(provider))
            self._warm.add(provider)

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        """One request. The whole call, to the last token, takes at most `call.settings.timeout` seconds."""
        settings = call.settings
        _known(settings)
        key = keys.find_key(settings, self._environ)
        secrets = self._secrets(settings, key) | call.secrets
        try:
            async with asyncio.timeout(settings.timeout):
                return await _ask(call, key, on_token)
        except ModelError:
            raise
        except ImportError as error:
            package = error.name or "of this provider"
            raise ModelNotInstalled(
                provider=settings.provider, package=package, install=f"pip install {package}"
            ) from error
        except TimeoutError as error:
            raise failures.timed_out(settings) from error
        except _Failed as error:
            failure = translate(error, settings, secrets=secrets, now=datetime.now(UTC))
            cause = failures.cause_of(error, secrets)
        # Outside of the except block: an error that spells the key must not come along as the context either.
        raise failure from cause

    def _secrets(self, settings: ModelSettings, key: str | None) -> Secrets:
        """Where `keys` has no entry for a provider, LiteLLM finds the key by itself, in the process's environment."""
        own = {key} if key and key != keys.NO_KEY else set()
        return keys.secrets_of(settings, self._environ, os.environ) | own


@asynccontextmanager
async def open_litellm(environ: Mapping[str, str]) -> AsyncIterator[LiteLLMModel]:
    """LiteLLM keeps its HTTP clients per process, not per model: closing one block closes those of all."""
    try:
        yield LiteLLMModel(environ)
    finally:
        await litellm.close_litellm_async_clients()
        # The streams of some providers go through this one, which the function above forgets.
        await litellm.module_level_aclient.close()
        await logging_worker.GLOBAL_LOGGING_WORKER.stop()
        # A closed client that stayed in the cache would be handed to the next block.
        litellm.in_memory_llm_clients_cache.flush_cache()


def terms_of(settings: ModelSettings, *, prompt: int) -> Terms:
    provider = OUR_NAMES.get(settings.provider, settings.provider)
    return Terms(price_of(provider, settings, prompt=prompt), longest_reply(provider, settings.model))


def check_provider(settings: ModelSettings, environ: Mapping[str, str]) -> None:
    """For the providers that `keys` has no entry for. Raises ModelRefused or MissingApiKey."""
    _known(settings)
    if settings.api_key_env or keys.is_loopback(settings.api_base):
        return
    needed = litellm.validate_environment(f"{settings.provider}/{settings.model}")["missing_keys"]
    missing = [name for name in needed if not environ.get(name)]
    if missing:
        raise MissingApiKey(provider=settings.provider, model=settings.model, variable=missing[0])


def _known(settings: ModelSettings) -> None:
    if settings.provider in OUR_NAMES or settings.provider in litellm.provider_list:
        return
    names = (*OUR_NAMES, "local", "scripted", *(str(getattr(name, "value", name)) for name in litellm.provider_list))
    near = did_you_mean(settings.provider, names)
    detail = f"no such provider ({near})" if near else "no such provider: LiteLLM doesn't know it"
    raise ModelRefused(detail, provider=settings.provider, model=settings.model)


async def _ask(call: ModelCall, key: str | None, on_token: OnToken | None) -> ModelReply:
    provider = OUR_NAMES.get(call.settings.provider, call.settings.provider)
    asked = _parameters(call, provider, key, stream=on_token is not None)
    started = perf_counter()
    answer = await litellm.acompletion(**asked)
    if on_token is None:
        text, end, first = answer.choices[0].message.content or "", answer, None
    else:
        text, end, first_at = await _read_stream(answer, call.settings, on_token)
        first = first_at - started if first_at is not None else None
    tokens, priced = _usage(getattr(end, "usage", None))
    cost = cost_of(provider, call.settings, priced, tier=getattr(end, "service_tier", None))
    return ModelReply(text, tokens, cost, first)


def _parameters(call: ModelCall, provider: str, key: str | None, *, stream: bool) -> dict[str, Any]:
    settings = call.settings
    optional = {
        "api_key": key,
        "api_base": settings.api_base,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "response_format": response_format(call.schema) if call.schema is not None else None,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
        "extra_headers": _headers(call),
    }
    return {
        **settings.extra,
        "model": f"{provider}/{settings.model}",
        "messages": [{"role": message.role, "content": message.content} for message in call.messages],
        "timeout": settings.timeout,
        # Retries are the node's: `num_retries` is LiteLLM's loop, `max_retries` that of the SDK below it.
        "num_retries": 0,
        "max_retries": 0,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _headers(call: ModelCall) -> dict[str, str] | None:
    if call.key is None:
        return None
    return {**(call.settings.extra.get("extra_headers") or {}), IDEMPOTENCY_KEY: call.key}


async def _read_stream(stream: Any, settings: ModelSettings, on_token: OnToken) -> tuple[str, Any, float | None]:
    """The text, the chunk that tells the usage, and the clock at the first token.

    `stream` is LiteLLM's CustomStreamWrapper.
    """
    parts: list[str] = []
    end, first_at = None, None
    try:
        async for chunk in stream:
            end = chunk if getattr(chunk, "usage", None) else end
            text = chunk.choices[0].delta.content if chunk.choices else None
            if text:
                first_at = perf_counter() if first_at is None else first_at
                parts.append(text)
                on_token(text)
    finally:
        await stream.aclose()
    # LiteLLM ends every stream with a finish reason of its own making; these two are the provider's. Only for Gemini
    # the second is made up as well once a word has come: there we know of a cut only if the connection broke, too.
    if stream.received_finish_reason is None and stream.intermittent_finish_reason is None:
        raise failures.broken(settings, "the stream ended in the middle of the reply")
    return "".join(parts), end, first_at


def _usage(usage: Any) -> tuple[Usage, Any]:
    """LiteLLM's usage as ours, and once more as it is for the price, or None where it tells nothing to go by."""
    details = getattr(usage, "prompt_tokens_details", None)
    named = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if not any(named):
        return Usage(), None
    told = (*named, getattr(details, "cached_tokens", None))
    read = tuple(told_tokens(value) for value in told)
    return Usage(*read), usage if read == told else None
