"""The real executor in the process of the test, which can look into it, and hold it where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from flowyard.durable.attempt import Attempt
from flowyard_executor.main import _open_parts, _run_until_drained
from flowyard_executor.parts import ExecutorParts
from flowyard_executor.settings import ExecutorSettings
from support.executors import Yard

Change = Callable[[ExecutorParts], ExecutorParts]
CALM: Final = {"lease_s": 600, "sweep_s": 60, "poll_s": 60, "port": 0}
"""Settings with which an executor does nothing by itself: only a doorbell or an end moves it."""


@dataclass(frozen=True)
class InProcess:
    """`at_work`: all its loops."""

    parts: ExecutorParts
    at_work: asyncio.Task[None]

    @property
    def attempt(self) -> Attempt:
        """Of the run that it executes."""
        [attempt] = self.parts.running.values()
        return attempt

    def count(self, metric: str, **labels: str) -> float:
        """The value of `flowyard_<metric>`."""
        return self.parts.metrics.value(f"flowyard_{metric}", **labels) or 0.0

    async def drain(self) -> None:
        """Returns when it has ended by itself."""
        self.parts.draining.set()
        async with asyncio.timeout(20):
            await self.at_work

    async def kill(self) -> None:
        """As `kill -9` would: nothing more is written."""
        attempts = [attempt.task for attempt in self.parts.running.values() if attempt.task is not None]
        tasks = [self.at_work, *attempts]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@asynccontextmanager
async def executing(
    yard: Yard,
    name: str = "one",
    *,
    change: Callable[[ExecutorParts], ExecutorParts] = lambda parts: parts,
    **given: Any,
) -> AsyncIterator[InProcess]:
    """`given`: settings that are not `CALM`; `change`: puts parts of the test's own in."""
    settings = ExecutorSettings.model_validate({**CALM, **yard.urls, "executor_name": name, **given})
    async with _open_parts(settings, asyncio.Event()) as parts:
        changed = change(parts)
        executor = InProcess(changed, asyncio.create_task(_run_until_drained(changed)))
        try:
            yield executor
        finally:
            await executor.kill()
