"""What a server may send, and how fast: any of them may be hostile, or broken."""

from __future__ import annotations

import asyncio
from typing import Final

MOST_MESSAGE: Final = 2_000_000
"""Bytes of a message, and of the whole answer to a request, with all its notifications."""
MOST_NOISE: Final = 100
"""Lines of a program's output that are no messages."""
MOST_LOG_LINES: Final = 1_000
"""Of what a program logs, from its start to its end."""
MOST_PROGRESS: Final = 1_000
"""Notifications of progress in one call."""
MOST_TOOLS: Final = 500
"""Of one server."""
MOST_PAGES: Final = 20
MOST_SCHEMA: Final = 20_000
"""Characters of the JSON Schema of a tool's arguments."""
MOST_DEPTH: Final = 24
"""Of the same."""
MOST_DESCRIPTION: Final = 2_000
_BURST: Final = 500
_PER_S: Final = 500.0


class Pace:
    """Lets a burst of messages through, and after it so many a second: who sends more has to wait, or to buffer."""

    def __init__(self) -> None:
        self._left = float(_BURST)
        self._at = 0.0

    async def next(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(float(_BURST), self._left + (now - self._at) * _PER_S) if self._at else self._left
        self._at = now
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / _PER_S)
