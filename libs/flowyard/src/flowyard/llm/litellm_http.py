"""What LiteLLM's HTTP clients must not do in a call: follow redirects, read without a limit, and split lines of text.

Redirects would send prompt, key and headers to whatever host is named. LiteLLM makes its clients in many places, the
SDKs below it make more, and each has defaults of its own. So httpx and aiohttp themselves are changed, only within such
a call: other requests of the process are as they were.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import aiohttp
import httpx

from flowyard.llm.event_stream import ENCODINGS
from flowyard.llm.litellm_responses import GuardedCall, guard
from flowyard.outbound.broken_chunks import notify_readers

_call: ContextVar[GuardedCall | None] = ContextVar("_call", default=None)
"""The call that is made in this context."""


@contextmanager
def guarded_http(call: GuardedCall) -> Iterator[None]:
    """Within this block a redirect is an answer like any other, and responses are `GuardedResponse`s."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


def _guarded(send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    @wraps(send)
    def wrapped(client: httpx.Client, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        call = _call.get()
        if call is None:
            return send(client, request, **kwargs)
        request.headers["Accept-Encoding"] = ENCODINGS
        return guard(send(client, request, **{**kwargs, "follow_redirects": False}), call)

    return wrapped


def _guarded_async(send: Callable[..., Awaitable[httpx.Response]]) -> Callable[..., Any]:
    @wraps(send)
    async def wrapped(client: httpx.AsyncClient, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        call = _call.get()
        if call is None:
            return await send(client, request, **kwargs)
        request.headers["Accept-Encoding"] = ENCODINGS
        return guard(await send(client, request, **{**kwargs, "follow_redirects": False}), call)

    return wrapped


def _without_redirects(request: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(request)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return request(*args, **{**kwargs, "allow_redirects": False} if _call.get() is not None else kwargs)

    return wrapped


notify_readers()
# These two are called with keywords. There is no public place that each request of httpx passes.
httpx.Client._send_handling_redirects = _guarded(  # type: ignore[method-assign]  # noqa: SLF001
    httpx.Client._send_handling_redirects  # noqa: SLF001
)
httpx.AsyncClient._send_handling_redirects = _guarded_async(  # type: ignore[method-assign]  # noqa: SLF001
    httpx.AsyncClient._send_handling_redirects  # noqa: SLF001
)
aiohttp.ClientSession._request = _without_redirects(  # type: ignore[method-assign]  # noqa: SLF001
    aiohttp.ClientSession._request  # noqa: SLF001
)
