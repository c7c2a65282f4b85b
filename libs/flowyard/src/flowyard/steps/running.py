"""One step while it runs: what its tries share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from flowyard.language.values.expression_values import ExpressionContext
from flowyard.runs.events import StepId
from flowyard.runs.run import StepCalls
from flowyard.steps.context import StepContext

Outputs: TypeAlias = dict[str, Any]
Try: TypeAlias = Callable[[], Awaitable[Outputs]]
"""One try of a step. Raises StepError."""


@dataclass(slots=True, kw_only=True)
class RunningStep:
    """`values`: the fields that the step sees, and the item of a map, by name. `around`: what expressions may ask.

    `tries`: the number of the current try, from 1; `calls`: those that it has made. Both include earlier claims.
    """

    step: StepId
    context: StepContext
    values: Mapping[str, Any]
    around: ExpressionContext
    tries: int = 0
    calls: StepCalls = field(default_factory=StepCalls)
    time_limit: asyncio.Timeout | None = None

    @property
    def key(self) -> str:
        """The idempotency key of the step's side effect: `run:node:visit[.item]`."""
        separator = "." if self.context.engine else ":"
        item = f"{separator}{self.step.item}" if self.step.item is not None else ""
        return f"{self.context.run_id}:{self.step.node}:{self.step.visit}{item}"

    def next_part(self) -> int:
        """A number for a part of the step that is no call of a model."""
        last = self.calls.last.part if self.calls.last is not None else 0
        part = max(self.calls.parts, last) + 1
        self.calls = replace(self.calls, parts=part)
        return part

    @asynccontextmanager
    async def time_stopped(self) -> AsyncIterator[None]:
        """The step's time limit doesn't run meanwhile."""
        limit = self.time_limit
        until = limit.when() if limit is not None else None
        if limit is None or until is None:
            yield
            return
        now = asyncio.get_running_loop().time
        left = until - now()
        limit.reschedule(None)
        self.context.recorder.pause_deadline(self.step, left)
        yield
        limit.reschedule(now() + left)
        self.context.recorder.resume_deadline(self.step, left)

    @property
    def is_out_of_time(self) -> bool:
        return self.time_limit is not None and self.time_limit.expired()

    def is_out_of_time_in(self, seconds: float) -> bool:
        """Whether the step's deadline will have passed after so many seconds."""
        until = self.time_limit.when() if self.time_limit is not None else None
        return until is not None and asyncio.get_running_loop().time() + seconds >= until
