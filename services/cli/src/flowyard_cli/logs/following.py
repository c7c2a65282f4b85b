"""Lines as they come, from several sources at once, and nearly in order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from flowyard_cli.logs.line import Line, in_order
from flowyard_cli.logs.source import Hear

Work: TypeAlias = Callable[[Hear, threading.Event], None]
"""Tells lines until it has no more, or until the event is set."""

_TOGETHER_S: Final = 0.3
"""Lines that come within this time are shown in the order of their times."""
_LAST_WORDS_S: Final = 1.0


def follow_all(endless: list[Work], ends: Work | None, show: Callable[[list[Line]], None]) -> None:
    """Until `ends` has ended, and a moment longer; without it, until all others have. Raises what they raise."""
    stop, heard = threading.Event(), queue.SimpleQueue[Line]()
    first = _Running(ends, heard, stop) if ends is not None else None
    others = [_Running(work, heard, stop) for work in endless]
    ended_at: float | None = None
    try:
        while ended_at is None or time.monotonic() < ended_at + _LAST_WORDS_S:
            time.sleep(_TOGETHER_S)
            show(in_order(_taken(heard)))
            over = [first] if first is not None else others
            if ended_at is None and all(running.is_over() for running in over):
                ended_at = time.monotonic()
            for running in others:
                running.is_over()
    finally:
        stop.set()


class _Running:
    def __init__(self, work: Work, heard: queue.SimpleQueue[Line], stop: threading.Event) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work, heard, stop), daemon=True)
        self._thread.start()

    def is_over(self) -> bool:
        """Raises what has ended it."""
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def _run(self, work: Work, heard: queue.SimpleQueue[Line], stop: threading.Event) -> None:
        try:
            work(heard.put, stop)
        except Exception as error:  # noqa: BLE001  # raised again where somebody waits
            self._error = error


def _taken(heard: queue.SimpleQueue[Line]) -> list[Line]:
    found = []
    while not heard.empty():
        found.append(heard.get())
    return found
