"""Waiting for Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flowyard.errors import Unavailable

_PAUSE_S: Final = 0.2
T = TypeVar("T")


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Tries again while Postgres is away: whoever renews the leases decides for how long that makes sense."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(_PAUSE_S)
