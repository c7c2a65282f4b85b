"""What every step of one run shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from flowyard.graph.recorder import Recorder
from flowyard.graph.state import Written
from flowyard.llm.calls import Model


@dataclass(slots=True)
class RunContext:
    """`stream`: whether tokens are wanted as they come. `chance` and `clock` are given so that tests know them."""

    run_id: str
    model: Model
    recorder: Recorder
    stream: bool
    chance: Callable[[], float]
    clock: Callable[[], float]
    written: Written
    failed: Exception | None = None
    """The error of the map item that ends the run, from then until the others are cancelled."""
    limits: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def limit(self, target: str, most: int | None) -> AbstractAsyncContextManager[None]:
        """The gate through which the items of one map pass, at most `most` at a time."""
        if most is None:
            return nullcontext()
        return self.limits.setdefault(target, asyncio.Semaphore(most))
