"""Limits the number of attempts to log in."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

_MAX_FAILED: Final = 10
_WITHIN_S: Final = 60.0
_MAX_ADDRESSES: Final = 10_000


class LoginAttempts:
    """Failed attempts per address, at most 10 per minute. In memory, so that a restart resets them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0 if it may try now."""
        failures = self._failures.get(address)
        if failures is None or len(failures) < _MAX_FAILED:
            return 0.0
        return max(0.0, failures[0] + _WITHIN_S - self._clock())

    def add_failure(self, address: str) -> None:
        """Counts a failed attempt."""
        self._failures.setdefault(address, deque(maxlen=_MAX_FAILED)).append(self._clock())
        self._failures.move_to_end(address)
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def reset(self, address: str) -> None:
        """Forgets the failed attempts of an address that has logged in."""
        self._failures.pop(address, None)
