"""Waiting for what a test means, and never for a time that should be long enough."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

_LONGEST_PAUSE_S: Final = 0.1
_LONGER: Final = 1.25


async def eventually(
    look: Callable[[], Any], within_s: float = 20, *, pause_s: float = 0.02, explain: Callable[[], str] = str
) -> Any:
    """The first true value that `look` returns; it may return an awaitable of the value.

    After each look comes a pause, a quarter longer than the one before: who waits for long looks less often, and leaves
    the machine to those who are waited for. It begins with `pause_s`, and ends with that or 0.1 s, whichever is longer.

    Raises AssertionError after `within_s` seconds, with the source of `look`, its last value, and what `explain`
    returns.
    """
    value: Any = None
    limit = asyncio.timeout(within_s)
    try:
        async with limit:
            while not (value := await _value(look)):
                await asyncio.sleep(pause_s)
                pause_s = _next(pause_s)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(_missed(look, value, within_s, explain)) from None
    return value


def eventually_blocking(
    look: Callable[[], Any], within_s: float = 20, *, pause_s: float = 0.02, explain: Callable[[], str] = str
) -> Any:
    """As `eventually`, where there is no loop."""
    deadline = time.monotonic() + within_s
    while not (value := look()):
        assert time.monotonic() < deadline, _missed(look, value, within_s, explain)
        time.sleep(pause_s)
        pause_s = _next(pause_s)
    return value


def _next(pause_s: float) -> float:
    return max(pause_s, min(pause_s * _LONGER, _LONGEST_PAUSE_S))


async def _value(look: Callable[[], Any]) -> Any:
    value = look()
    return await value if inspect.isawaitable(value) else value


def _missed(look: Callable[[], Any], value: Any, within_s: float, explain: Callable[[], str]) -> str:
    source = repr(look)
    with suppress(OSError, TypeError):
        source = inspect.getsource(look).strip()
    return f"not within {within_s} s; the last value was {value!r}: {source}\n{explain()}".rstrip()
