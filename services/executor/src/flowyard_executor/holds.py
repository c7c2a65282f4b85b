"""After a 429, other calls of the model with the same key wait: in this process, and by NATS in other executors."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from flowyard.bus.connection import Bus
from flowyard.bus.messages import ModelHeld
from flowyard.language.nodes import ModelSettings
from flowyard.llm.keys import key_variable
from flowyard.storage.pace import MOST_HELD_S

_USUAL_S: Final = 1.0
"""Seconds to wait after a 429 without `Retry-After`."""
BELIEVED_S: Final = 2.0
"""So long, a message of another executor is believed, and as long after that none about the same place is: forged ones
slow calls down, and don't stop them. If the provider meant longer, the next call gets a 429 of its own."""
_MOST_PLACES: Final = 1000


class Holds:
    """Until when calls wait. Kept in memory only: if a message is lost, other executors don't wait."""

    def __init__(self, bus: Bus, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._clock = clock
        self._until: dict[str, float] = {}
        self._not_believed_until: dict[str, float] = {}

    def left_s(self, settings: ModelSettings) -> float:
        """Seconds for which a call with these settings must wait. 0 with fallbacks: they can answer meanwhile."""
        if not self._until or settings.fallbacks:
            return 0.0
        return max(0.0, self._until.get(place_of(settings), 0.0) - self._clock())

    def add(self, settings: ModelSettings, retry_after: float | None) -> None:
        wait_s = min(retry_after if retry_after is not None else _USUAL_S, MOST_HELD_S)
        self._hold(place_of(settings), wait_s)
        self._bus.publish(ModelHeld(place=place_of(settings), wait_s=wait_s))

    async def receive(self, message: ModelHeld) -> None:
        now, wait_s = self._clock(), min(message.wait_s, BELIEVED_S)
        if now >= self._not_believed_until.get(message.place, 0.0):
            self._hold(message.place, wait_s)
            _set(self._not_believed_until, message.place, now + 2 * wait_s, now)

    def _hold(self, place: str, wait_s: float) -> None:
        now = self._clock()
        _set(self._until, place, max(self._until.get(place, 0.0), now + wait_s), now)


def _set(times: dict[str, float], place: str, until: float, now: float) -> None:
    """Forgets what is over, if there are many; adds no more than _MOST_PLACES."""
    if place not in times and len(times) >= _MOST_PLACES:
        for over in [other for other, end in times.items() if end <= now]:
            del times[over]
    if place in times or len(times) < _MOST_PLACES:
        times[place] = until


def place_of(settings: ModelSettings) -> str:
    """The same for all calls of this model with this key at this address. Many providers limit each model by itself."""
    parts = (settings.provider, settings.model, key_variable(settings) or "", settings.api_base or "")
    return sha256("\n".join(parts).encode()).hexdigest()[:32]
