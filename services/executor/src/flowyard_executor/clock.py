"""The database's time, as well as a process can know it: its own wall clock may be wrong, and isn't asked."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """Set by each answer that carries the database's time, and carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._mark = time.monotonic()

    def set(self, at: datetime) -> None:
        self._at, self._mark = at, time.monotonic()

    def now(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._mark)
