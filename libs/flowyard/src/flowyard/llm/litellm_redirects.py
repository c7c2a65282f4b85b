"""No redirects in calls through LiteLLM: its clients would send prompt, key and headers to whatever host is named.

LiteLLM makes its clients in many places, the SDKs below it make more, and they follow by their own default. So httpx
and aiohttp themselves are stopped, only within such a call: other requests of the process follow as they want.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import aiohttp
import httpx

_in_call: ContextVar[bool] = ContextVar("_in_call", default=False)


@contextmanager
def without_redirects() -> Iterator[None]:
    """Within this block a redirect is an answer like any other."""
    token = _in_call.set(True)
    try:
        yield
    finally:
        _in_call.reset(token)


def _unless_in_call(send: Callable[..., Any], parameter: str) -> Callable[..., Any]:
    """`parameter`: a keyword of `send` that says whether it follows redirects."""

    @wraps(send)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return send(*args, **{**kwargs, parameter: False} if _in_call.get() else kwargs)

    return wrapped


# Both of httpx are called with keywords. There is no public place that each of its requests passes.
for _client in (httpx.Client, httpx.AsyncClient):
    _client._send_handling_redirects = _unless_in_call(  # type: ignore[method-assign]  # noqa: SLF001
        _client._send_handling_redirects,  # noqa: SLF001
        "follow_redirects",
    )
aiohttp.ClientSession._request = _unless_in_call(  # type: ignore[method-assign]  # noqa: SLF001
    aiohttp.ClientSession._request,  # noqa: SLF001
    "allow_redirects",
)
