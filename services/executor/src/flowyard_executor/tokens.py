"""Publishes tokens as models reply, gathered for a moment: a message per word would be too many."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunTokens
from flowyard.runs.events import StepId, Token

GATHER_S: Final = 0.03


class TokenStream:
    """One per process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._texts: dict[UUID, dict[tuple[int, StepId], list[str]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, run_id: UUID, epoch: int, token: Token) -> None:
        self._texts.setdefault(run_id, {}).setdefault((epoch, token.step), []).append(token.text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    def flush(self, run_id: UUID) -> None:
        """Publishes the run's tokens now, before anything else about the run."""
        for (epoch, step), pieces in self._texts.pop(run_id, {}).items():
            text = "".join(pieces)
            self._bus.publish(
                RunTokens(run_id=run_id, epoch=epoch, node=step.node, visit=step.visit, item=step.item, text=text)
            )

    def _flush(self) -> None:
        self._timer = None
        for run_id in list(self._texts):
            self.flush(run_id)
