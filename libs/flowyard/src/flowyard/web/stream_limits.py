"""How many streams may be open: each holds memory for as long as its client wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flowyard.errors.requests import TooManyStreams

STREAMS_LIMIT: Final = 1000
STREAMS_PER_KEY: Final = 500


class StreamLimits:
    """`most`: of all streams of the process; `most_per_key`: of those that were opened with one API key."""

    def __init__(self, *, most: int, most_per_key: int) -> None:
        self._most = most
        self._most_per_key = most_per_key
        self._open: Counter[str] = Counter()

    @contextmanager
    def opened(self, key_id: str) -> Iterator[None]:
        """Raises TooManyStreams."""
        if self._open.total() >= self._most:
            raise TooManyStreams(limit=self._most, per_key=False)
        if self._open[key_id] >= self._most_per_key:
            raise TooManyStreams(limit=self._most_per_key, per_key=True)
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]
