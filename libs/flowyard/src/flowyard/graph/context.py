"""What every step of one run shares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flowyard.llm.calls import Model
from flowyard.runs.events import Emit


@dataclass(slots=True)
class RunContext:
    """`stream`: whether tokens are wanted as they come. `sleep` and `chance` are given so that tests need not wait."""

    model: Model
    emit: Emit
    stream: bool
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]
    clock: Callable[[], float]
    limits: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def limit(self, target: str, most: int) -> asyncio.Semaphore:
        """The gate through which the items of one map pass, at most `most` at a time."""
        return self.limits.setdefault(target, asyncio.Semaphore(most))
