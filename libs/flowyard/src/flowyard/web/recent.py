"""Caches one result for a short time; only one computation runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Computes a result at most once at a time; callers who come meanwhile get the same one."""

    def __init__(self, compute: Callable[[], Awaitable[T]], *, keep_s: Callable[[float], float]) -> None:
        """`keep_s`: for how many seconds a result is kept, given the seconds that computing it took."""
        self._compute = compute
        self._keep_s = keep_s
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._results: list[T] = []

    async def get(self) -> T:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if not self._results or clock() >= self._until:
                began = clock()
                self._results = [await self._compute()]
                self._until = clock() + self._keep_s(clock() - began)
            return self._results[0]
