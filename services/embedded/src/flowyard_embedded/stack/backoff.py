"""How long to wait before what has ended is started again."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 0.2
MOST_S: Final = 10.0
STEADY_S: Final = 30.0
"""What was healthy for so long has got over its trouble."""


class Backoff:
    def __init__(self) -> None:
        self._next = FIRST_S

    def after(self, healthy_s: float) -> float:
        """Seconds. Twice as many each time, until it stays healthy."""
        if healthy_s >= STEADY_S:
            self._next = FIRST_S
        delay, self._next = self._next, min(2 * self._next, MOST_S)
        return delay
