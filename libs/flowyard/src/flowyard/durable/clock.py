"""An estimate of the database's time. The process's own wall clock may be wrong, and isn't used."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_NEAR = timedelta(seconds=1)
"""A reading more than this far back is a clock reset, not a slow reply."""


class DatabaseClock:
    """Set by each reply that carries the database's time, and advanced by the monotonic clock in between."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._mark = time.monotonic()

    def set(self, at: datetime) -> None:
        """Takes a reading. It is in the past when the reply arrives, so of two readings the later one is more exact."""
        known = self.now()
        self._mark = time.monotonic()
        self._at = known if at < known < at + _NEAR else at

    def now(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._mark)
