"""How many requests of a webhook become runs, and how many of those that become none are recorded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from flowyard.errors.webhooks import TooManyDeliveries
from flowyard.language.values.rates import Rate

STRANGERS: Final = Rate(60, 60)
"""How many deliveries of each webhook are recorded that weren't verified, or were refused: everybody can send those."""
_MOST: Final = 10_000


class Buckets:
    """Token buckets by name, in memory: a restart fills them."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def take(self, name: tuple[str, ...], rate: Rate) -> float:
        """0 if there was a token left; else the seconds until there is one."""
        now = self._clock()
        each_s = rate.per_s / rate.count
        full_at = max(now, self._full_at.get(name, now))
        # After so long without a request, the bucket is full.
        wait_s = full_at + each_s - now - rate.per_s
        # Less than a tenth of a request is how exactly times are added.
        if wait_s > each_s / 10:
            return wait_s
        self._full_at[name] = full_at + each_s
        self._full_at.move_to_end(name)
        while len(self._full_at) > _MOST:
            self._full_at.popitem(last=False)
        return 0.0

    def require(self, name: tuple[str, ...], rate: Rate | None) -> None:
        """Raises TooManyDeliveries."""
        if rate is not None and (wait_s := self.take(name, rate)):
            raise TooManyDeliveries(retry_after=wait_s)
