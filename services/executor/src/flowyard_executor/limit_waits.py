"""Which calls wait for a limit now: as events of their runs, as metrics, and in Postgres for `flowyard status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from flowyard.steps.call_limits import OnWait
from flowyard.storage.pace import ModelPace, Waits
from flowyard.telemetry.metrics import ModelMetrics

NOTICEABLE_S: Final = 1.0
"""Seconds: shorter waits are in the histogram only."""


@dataclass(eq=False, slots=True)
class Wait:
    """A call that waits. `limit`: the one that is reached, as far as it is known.

    `rate_limited`: a 429 has slowed the calls down.
    """

    limit: str
    rate_limited: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


class LimitWaits:
    """The calls of one executor that wait."""

    def __init__(self, executor: str, pace: ModelPace, metrics: ModelMetrics) -> None:
        self.now: set[Wait] = set()
        self._executor = executor
        self._pace = pace
        self._metrics = metrics
        self._shown: set[str] = set()

    @contextmanager
    def waiting(self, limit: str, on_wait: OnWait) -> Iterator[Wait]:
        """Calls `on_wait` once, if the wait becomes noticeable."""
        wait = Wait(limit)
        timer = asyncio.get_running_loop().call_later(NOTICEABLE_S, lambda: on_wait(wait.limit, wait.rate_limited))
        self.now.add(wait)
        try:
            yield wait
        finally:
            self.now.discard(wait)
            timer.cancel()
            self._metrics.limit_wait.labels(wait.limit).observe(wait.seconds)

    async def show(self) -> None:
        """To be called about once a second. Raises Unavailable."""
        waits = self._by_limit()
        for limit in self._shown | waits.keys():
            self._metrics.waiting.labels(limit).set(waits[limit].calls if limit in waits else 0)
        if self._shown or waits:
            await self._pace.show_waits(self._executor, list(waits.values()))
            self._shown = set(waits)

    def _by_limit(self) -> dict[str, Waits]:
        waits: dict[str, Waits] = {}
        for wait in self.now:
            if (seconds := wait.seconds) >= NOTICEABLE_S:
                before = waits.get(wait.limit, Waits(wait.limit, 0, 0.0, rate_limited=False))
                waits[wait.limit] = Waits(
                    wait.limit,
                    before.calls + 1,
                    max(before.longest_s, seconds),
                    before.rate_limited or wait.rate_limited,
                )
        return waits
