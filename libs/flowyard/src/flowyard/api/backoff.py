"""The pauses between the connections of one stream, and the time after which it is given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from flowyard.errors.base import FlowyardError

GIVE_UP_S: Final = 60.0
_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


class StreamBackoff:
    """How long to wait before the next connection, and when to give up."""

    def __init__(self, give_up_s: float, on_break: Callable[[FlowyardError], None]) -> None:
        self._give_up_s = give_up_s
        self._on_break = on_break
        self._pause = _PAUSE_S
        self._until: float | None = None

    def connected(self) -> None:
        self._until = None

    def received(self) -> None:
        self._pause = _PAUSE_S

    def wait(self, error: FlowyardError | None) -> None:
        """`error`: None if the server has ended the stream, as it does when it shuts down."""
        if error is not None:
            if self._until is None:
                self._until = time.monotonic() + self._give_up_s
                self._on_break(error)
            if time.monotonic() + self._pause > self._until:
                raise error
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
