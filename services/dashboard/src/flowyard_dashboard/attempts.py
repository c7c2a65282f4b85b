"""How often somebody may try to log in."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

_MOST: Final = 10
_WITHIN_S: Final = 60.0
_MOST_REMEMBERED: Final = 10_000


class Attempts:
    """Failed attempts by address: at most 10 a minute. In memory: a restart forgets them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0: now."""
        failed = self._failed.get(address)
        if failed is None or len(failed) < _MOST:
            return 0.0
        return max(0.0, failed[0] + _WITHIN_S - self._clock())

    def failed(self, address: str) -> None:
        self._failed.setdefault(address, deque(maxlen=_MOST)).append(self._clock())
        self._failed.move_to_end(address)
        while len(self._failed) > _MOST_REMEMBERED:
            self._failed.popitem(last=False)

    def succeeded(self, address: str) -> None:
        self._failed.pop(address, None)
