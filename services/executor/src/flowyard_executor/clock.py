"""The database's time, as well as a process can know it: its own wall clock may be wrong, and isn't asked."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_NEAR = timedelta(seconds=1)
"""An answer that is older than that isn't slow: the database's clock was set back."""


class DatabaseClock:
    """Set by each answer that carries the database's time, and carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._mark = time.monotonic()

    def set(self, at: datetime) -> None:
        """`at` is past by the time that we hear of it: the latest of what we heard is nearest."""
        known = self.now()
        self._mark = time.monotonic()
        self._at = known if at < known < at + _NEAR else at

    def now(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._mark)
