"""Waiting for Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flowyard.errors.services import Unavailable

_PAUSE_S: Final = 0.2
T = TypeVar("T")


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Retries while Postgres is unavailable, without a limit: the caller's lease decides how long that makes sense."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(_PAUSE_S)
