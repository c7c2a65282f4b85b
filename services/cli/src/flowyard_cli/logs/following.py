"""Follows several feeds of lines at once, nearly in order of time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from flowyard_cli.logs.line import LogLine, OnLine, in_order

Feed: TypeAlias = Callable[[OnLine, threading.Event], None]
"""Calls its first argument with each line, until it has no more or until the event is set."""

_TOGETHER_S: Final = 0.3
"""Lines that arrive within this time are sorted before they are shown."""
_LINGER_S: Final = 1.0


def follow_all(endless: list[Feed], ends: Feed | None, show: Callable[[list[LogLine]], None]) -> None:
    """Returns a moment after `ends` has ended; without it, when all feeds have ended. Raises what they raise."""
    stop, lines = threading.Event(), queue.SimpleQueue[LogLine]()
    first = _FeedThread(ends, lines, stop) if ends is not None else None
    others = [_FeedThread(feed, lines, stop) for feed in endless]
    ended_at: float | None = None
    try:
        while ended_at is None or time.monotonic() < ended_at + _LINGER_S:
            time.sleep(_TOGETHER_S)
            show(in_order(_taken(lines)))
            awaited = [first] if first is not None else others
            if ended_at is None and all(feed.has_ended() for feed in awaited):
                ended_at = time.monotonic()
            for feed in others:
                feed.has_ended()
    finally:
        stop.set()


class _FeedThread:
    def __init__(self, feed: Feed, lines: queue.SimpleQueue[LogLine], stop: threading.Event) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(feed, lines, stop), daemon=True)
        self._thread.start()

    def has_ended(self) -> bool:
        """Raises the error of the feed, if it had one."""
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def _run(self, feed: Feed, lines: queue.SimpleQueue[LogLine], stop: threading.Event) -> None:
        try:
            feed(lines.put, stop)
        except Exception as error:  # noqa: BLE001  # raised by has_ended
            self._error = error


def _taken(lines: queue.SimpleQueue[LogLine]) -> list[LogLine]:
    taken = []
    while not lines.empty():
        taken.append(lines.get())
    return taken
