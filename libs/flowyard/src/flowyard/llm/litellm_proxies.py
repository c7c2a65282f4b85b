"""Proxies of calls through LiteLLM, by the rule of `proxies`: LiteLLM would use them for this machine, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import httpx

from flowyard.outbound.proxies import is_private, proxy_for


def keep_private_calls_direct() -> None:
    """For all clients of the process: none needs a proxy to reach a private address. LiteLLM must be set up."""
    transport: Any = import_module("litellm.llms.custom_httpx.aiohttp_transport").LiteLLMAiohttpTransport
    transport._proxy_from_env = _proxy_from_env  # noqa: SLF001  # there is no setting for it
    for client in (httpx.Client, httpx.AsyncClient):
        client._transport_for_url = _unless_private(client._transport_for_url)  # type: ignore[assignment, method-assign]  # noqa: SLF001


def _proxy_from_env(_: object, url: httpx.URL) -> str | None:
    return proxy_for(str(url), os.environ)


def _unless_private(choose: Callable[[Any, httpx.URL], Any]) -> Callable[[Any, httpx.URL], Any]:
    """For the function that chooses between a client's own transport and those of its proxies."""

    @wraps(choose)
    def wrapped(client: Any, url: httpx.URL) -> Any:
        return client._transport if is_private(url.host) else choose(client, url)  # noqa: SLF001

    return wrapped
