"""Providers that speak OpenAI's chat format: called directly, without LiteLLM.

A direct call takes a twentieth of the CPU time, and the first one saves the 3 s and 180 MB of LiteLLM's import.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import aiohttp

from flowyard.language.nodes import ModelSettings
from flowyard.llm import keys, price_list
from flowyard.llm.calls import ModelCall, ModelReply, OnToken
from flowyard.llm.direct_prices import cost_of
from flowyard.llm.litellm_prices import longest_reply, price_of
from flowyard.llm.openai_wire import Endpoint, chat
from flowyard.llm.providers import DIRECT, base_url, limit_parameter, located, name_of_model
from flowyard.llm.terms import Terms
from flowyard.outbound.proxies import proxy_for

_MAX_ENDPOINTS: Final = 256


class DirectModel:
    """`environ`: must not change. `reply_limit`: most bytes of a reply."""

    def __init__(self, session: aiohttp.ClientSession, environ: Mapping[str, str], reply_limit: int) -> None:
        self._session = session
        self._environ = environ
        self._reply_limit = reply_limit
        self._endpoints: dict[keys.Place, Endpoint] = {}

    async def prepare(self, settings: ModelSettings) -> None:
        """Does nothing: each call connects by itself. Raises MissingApiKey or ModelRefused, as `reply` would."""
        self._endpoint(located(settings, self._environ))

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        endpoint = self._endpoint(call.settings)
        reply, billing = await chat(self._session, endpoint, call, on_token, max_tokens=None)
        return replace(reply, cost_usd=cost_of(call.settings, reply.usage, billing, datetime.now(UTC)))

    def _endpoint(self, settings: ModelSettings) -> Endpoint:
        """Raises MissingApiKey or InvalidApiKey."""
        place = keys.place_of(settings)
        if (endpoint := self._endpoints.get(place)) is None:
            if len(self._endpoints) >= _MAX_ENDPOINTS:
                self._endpoints.clear()
            endpoint = self._endpoints[place] = self._new_endpoint(settings)
        return endpoint

    def _new_endpoint(self, settings: ModelSettings) -> Endpoint:
        access = keys.access_to(settings, self._environ)
        url = base_url(settings)
        return Endpoint(
            url,
            name_of_model(settings),
            access.key if keys.key_header(settings) is None else None,
            dict(keys.headers_of(settings)),
            access.secrets,
            self._reply_limit,
            limit_parameter(settings),
            DIRECT[settings.provider].counts_always,
            proxy_for(url, self._environ),
        )


async def load_prices() -> None:
    """Reads the price list now: it takes 50 ms."""
    await asyncio.to_thread(price_list.entries)


def terms_of(settings: ModelSettings, *, prompt: int) -> Terms:
    """The model's price for a prompt of at most `prompt` tokens, and its longest reply."""
    provider = settings.provider
    return Terms(price_of(provider, settings, prompt=prompt), longest_reply(provider, settings.model))
