"""What LangGraph hands to every place of the graph of one run."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from flowyard.graph.outputs import RunOutputs
from flowyard.steps.context import StepContext
from flowyard.steps.recorder import Recorder


@dataclass(slots=True)
class RunContext:
    """`outputs` collects what the nodes write."""

    steps: StepContext
    outputs: RunOutputs
    failed: Exception | None = None
    """The error that ends the run, from then until everything else that is at work is cancelled."""
    limits: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    @property
    def recorder(self) -> Recorder:
        return self.steps.recorder

    def limit(self, target: str, most: int | None) -> AbstractAsyncContextManager[None]:
        """The gate for the items of one map, at most `most` at a time."""
        if most is None:
            return nullcontext()
        return self.limits.setdefault(target, asyncio.Semaphore(most))
