"""A thread that watches the event loop of its process: a loop that hangs is logged, and then ends the process.

A supervisor starts it again; until then, the process would answer nothing, and hold its leases and its connections.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

log = logging.getLogger(__name__)

HUNG: Final = 70
"""The exit code of a process whose event loop hangs."""
_TICK_S: Final = 0.5
_DUMP_AFTER_S: Final = 3.0
_END_AFTER_S: Final = 8.0
_DUMP_WITHIN_S: Final = 1.0


@contextmanager
def watched_loop(
    *, dump_after_s: float = _DUMP_AFTER_S, end_after_s: float = _END_AFTER_S, end: Callable[[int], object] = os._exit
) -> Iterator[None]:
    """Watches the running loop while the block lasts.

    If the loop makes no turn for `dump_after_s` seconds, the stacks of all threads are logged; after `end_after_s`
    seconds, `end` is called with HUNG.
    """
    stopped = threading.Event()
    watchdog = _Watchdog(asyncio.get_running_loop(), stopped, dump_after_s=dump_after_s, end_after_s=end_after_s)
    threading.Thread(target=watchdog.watch, args=(end,), name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


class _Watchdog:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, stopped: threading.Event, *, dump_after_s: float, end_after_s: float
    ) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._stopped = stopped
        self._dump_after = round(dump_after_s / _TICK_S)
        self._end_after = round(end_after_s / _TICK_S)
        self._turned = threading.Event()

    def watch(self, end: Callable[[int], object]) -> None:
        # Counted in ticks of this thread, and not by a clock: a process that was frozen, or that gets no CPU, has no
        # ticks either, and must not be ended when it goes on.
        silent = 0
        self._ask()
        while not self._stopped.wait(_TICK_S):
            if self._turned.is_set():
                if silent >= self._dump_after:
                    self._in_thread(self._log_recovery, silent)
                silent = 0
                self._turned.clear()
                self._ask()
                continue
            silent += 1
            if silent == self._dump_after:
                self._in_thread(self._log_stacks, silent)
            if silent >= self._end_after:
                self._in_thread(self._log_end, silent).join(_DUMP_WITHIN_S)
                end(HUNG)
                return

    def _ask(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._turned.set)
        except RuntimeError:  # the loop is closed
            self._stopped.set()

    def _in_thread(self, write: Callable[[int], None], silent: int) -> threading.Thread:
        """The loop may hang because nobody reads the log: then this thread must not wait for the log, too."""
        thread = threading.Thread(target=write, args=(silent,), daemon=True)
        thread.start()
        return thread

    def _log_stacks(self, silent: int) -> None:
        all_stacks = stacks(first=self._loop_thread)
        innermost = next(iter(all_stacks.values()))[-1]
        log.error("event loop hangs", extra={"hung_s": silent * _TICK_S, "executes": innermost, "stacks": all_stacks})

    def _log_recovery(self, silent: int) -> None:
        log.warning("event loop runs again", extra={"hung_s": silent * _TICK_S})

    def _log_end(self, silent: int) -> None:
        log.critical("process ends: its event loop hangs", extra={"hung_s": silent * _TICK_S, "exit_code": HUNG})


def stacks(*, first: int) -> dict[str, list[str]]:
    """What each thread executes: `file:line function`, the innermost last. `first`: the thread that comes first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sorted(sys._current_frames().items(), key=lambda item: item[0] != first)  # noqa: SLF001  # documented for this
    return {
        f"{names.get(ident, 'unnamed')} {ident}": [
            f"{line.filename}:{line.lineno} {line.name}" for line in traceback.extract_stack(frame)
        ]
        for ident, frame in frames
    }
