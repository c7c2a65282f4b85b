"""How many runs this executor failed because their recorded steps don't fit, and what it does about it.

A release that replays runs differently from the one that recorded them would fail all open runs, one after the other.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Final

from flowyard.errors.services import ReplaysStopped
from flowyard.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MOST: Final = 3
WITHIN_S: Final = 60.0
"""Seconds within which MOST mismatches make an executor claim only new runs."""


class Mismatches:
    """One per process: it begins again with a restart, which may be one with another release."""

    def __init__(self, metrics: Metrics) -> None:
        self.too_many = False
        self._counter = metrics.executor.replay_mismatches
        self._times: deque[float] = deque(maxlen=MOST)

    def add(self) -> None:
        self._counter.inc()
        self._times.append(time.monotonic())
        if not self.too_many and len(self._times) == MOST and self._times[-1] - self._times[0] <= WITHIN_S:
            self.too_many = True
            log.error(str(ReplaysStopped()), extra={"mismatches": MOST, "within_s": WITHIN_S})

    async def check(self) -> str:
        """For the executor's readiness. Raises ReplaysStopped."""
        if self.too_many:
            raise ReplaysStopped
        return "recorded steps fit"
