"""After a 429, other calls of the model with the same key wait: in this process, and by NATS in other executors."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Final

from flowyard.bus.connection import Bus
from flowyard.bus.messages import ModelHeld
from flowyard.language.nodes import ModelSettings
from flowyard.llm.keys import key_variable
from flowyard.storage.pace import MOST_HELD_S

_USUAL_S: Final = 1.0
"""If the provider doesn't say how long to wait."""


class Holds:
    """Until when calls wait. Nobody else knows: a message that gets lost leaves the other executors at their pace."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._until: dict[str, float] = {}

    def left_s(self, settings: ModelSettings) -> float:
        """For how many seconds a call with these settings must wait. With fallbacks it needn't: they can answer."""
        if not self._until or settings.fallbacks:
            return 0.0
        return max(0.0, self._until.get(_place(settings), 0.0) - time.monotonic())

    def add(self, settings: ModelSettings, retry_after: float | None) -> None:
        wait_s = min(retry_after if retry_after is not None else _USUAL_S, MOST_HELD_S)
        self._hold(_place(settings), wait_s)
        self._bus.publish(ModelHeld(place=_place(settings), wait_s=wait_s))

    async def receive(self, message: ModelHeld) -> None:
        self._hold(message.place, min(message.wait_s, MOST_HELD_S))

    def _hold(self, place: str, wait_s: float) -> None:
        now = time.monotonic()
        self._until = {other: until for other, until in self._until.items() if until > now}
        self._until[place] = max(self._until.get(place, 0.0), now + wait_s)


def _place(settings: ModelSettings) -> str:
    """The same for all calls of this model with this key at this address. Many providers limit each model by itself."""
    parts = (settings.provider, settings.model, key_variable(settings) or "", settings.api_base or "")
    return sha256("\n".join(parts).encode()).hexdigest()[:32]
