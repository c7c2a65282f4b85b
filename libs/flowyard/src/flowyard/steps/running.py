"""One step while it runs: what its tries share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from flowyard.llm.calls import ModelReply
from flowyard.runs.events import StepId
from flowyard.runs.summary import add_known
from flowyard.steps.context import StepContext

Outputs: TypeAlias = dict[str, Any]
Try: TypeAlias = Callable[[], Awaitable[Outputs]]
"""One try of a step. Raises StepError."""


@dataclass(slots=True)
class StepSums:
    """What the model calls of one step used. None: at least one part is unknown."""

    calls: int = 0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    cost_usd: Decimal | None = field(default_factory=Decimal)

    def add(self, reply: ModelReply) -> None:
        self.tokens_in = add_known(self.tokens_in, reply.usage.tokens_in)
        self.tokens_out = add_known(self.tokens_out, reply.usage.tokens_out)
        self.cost_usd = add_known(self.cost_usd, reply.cost_usd)


@dataclass(slots=True, kw_only=True)
class RunningStep:
    """`values`: the fields that the step sees, and the item of a map, by name. `loop_turns`: turns of a node's loop.

    `tries`: the number of the current try, from 1; it goes on from the tries under earlier claims.
    """

    step: StepId
    context: StepContext
    values: Mapping[str, Any]
    loop_turns: Callable[[str], int]
    tries: int = 0
    sums: StepSums = field(default_factory=StepSums)
    time_limit: asyncio.Timeout | None = None

    @property
    def key(self) -> str:
        """The idempotency key of the step's side effect: `run:node:visit[.item]`."""
        item = f":{self.step.item}" if self.step.item is not None else ""
        return f"{self.context.run_id}:{self.step.node}:{self.step.visit}{item}"

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
        yield
        limit.reschedule(now() + left)

    @property
    def is_out_of_time(self) -> bool:
        return self.time_limit is not None and self.time_limit.expired()
