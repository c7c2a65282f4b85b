"""The progress that tools report of their calls, as events: some of it, since each is stored with the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flowyard.runs.events import Event, ToolProgressed

EVERY_S: Final = 1.0
MOST: Final = 60
"""Events of a call."""
_LONGEST: Final = 500
"""Characters of a text."""


@dataclass(slots=True)
class CallProgress:
    """Of one call. `begun`: the event without its values; `clock`: returns seconds; `masked`: hides secrets in a text.

    A report is dropped within EVERY_S seconds of the one before.
    """

    begun: ToolProgressed
    emit: Callable[[Event], None]
    clock: Callable[[], float]
    masked: Callable[[str], str]
    _last: float = field(default=-math.inf)
    _count: int = 0
    has_ended: bool = False
    """Later reports are dropped: the call's end has been recorded."""

    def report(self, done: float, total: float | None, text: str | None) -> None:
        now = self.clock()
        if self.has_ended or self._count >= MOST or now - self._last < EVERY_S or not math.isfinite(done):
            return
        self._last, self._count = now, self._count + 1
        of = total if total is not None and math.isfinite(total) else None
        said = self.masked(text[:_LONGEST]) if text else None
        begun = self.begun
        self.emit(ToolProgressed(begun.step, begun.tool, begun.question, begun.call, done, of, said))
