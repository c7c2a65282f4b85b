"""What every step of one run shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from flowyard.graph.recorder import Recorder
from flowyard.graph.spending import Spending
from flowyard.graph.state import Written
from flowyard.graph.vault import InMemoryVault, Vault
from flowyard.llm.calls import Model


@dataclass(slots=True)
class RunContext:
    """`stream`: whether tokens are wanted as they come. `chance` and `clock` are given so that tests know them.

    `spending`: the gate before each call of a model; None: nothing is limited. `vault`: the run's secret inputs.
    """

    run_id: str
    model: Model
    recorder: Recorder
    stream: bool
    chance: Callable[[], float]
    clock: Callable[[], float]
    written: Written
    spending: Spending | None = None
    failed: Exception | None = None
    """The error that ends the run, from then until everything else that is at work is cancelled."""
    limits: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    vault: Vault = field(default_factory=lambda: InMemoryVault({}))

    def limit(self, target: str, most: int | None) -> AbstractAsyncContextManager[None]:
        """The gate through which the items of one map pass, at most `most` at a time."""
        if most is None:
            return nullcontext()
        return self.limits.setdefault(target, asyncio.Semaphore(most))
