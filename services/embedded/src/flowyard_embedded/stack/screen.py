"""Standard output and standard error for a supervisor, which must never wait for who reads them.

A terminal that was paused, or a pipe that nobody empties, would otherwise stop the supervisor, and with it every
service that wants to write a log line.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress
from typing import Final, Literal, NamedTuple, TypeAlias

from flowyard_embedded import streams

_MOST: Final = 5_000
"""Lines that wait to be shown. What comes on top of them isn't shown: the log files have it."""
_LAST_WORDS_S: Final = 1.0

Stream: TypeAlias = Literal["out", "err"]


class _Line(NamedTuple):
    stream: Stream
    text: str


class Screen:
    """Lines are `drawn`: control characters in them have been made visible before."""

    def __init__(self) -> None:
        self._lines: queue.Queue[_Line | None] = queue.Queue(_MOST)
        self._left_out = 0
        self._thread = threading.Thread(target=self._show, name="screen", daemon=True)
        self._thread.start()
        self.closed = False

    def show(self, text: str, *, stream: Stream = "out") -> None:
        if self.closed:
            return
        try:
            self._lines.put_nowait(_Line(stream, text))
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Shows what still waits, unless nobody takes it; shows nothing from then on."""
        if self.closed:
            return
        self.closed = True
        with suppress(queue.Full):
            self._lines.put(None, timeout=_LAST_WORDS_S)
            self._thread.join(_LAST_WORDS_S)
        if self._thread.is_alive():
            # It waits for the reader, and has the streams' locks meanwhile: the last flush would wait for them.
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # to the end

    def leave(self) -> None:
        """As `close`, and lets go of both streams, so that whoever reads them sees their end."""
        self.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (1, 2):
            os.dup2(nowhere, number)
        os.close(nowhere)

    def _show(self) -> None:
        with suppress(streams.UnwritableOutput):
            while (line := self._lines.get()) is not None:
                if line.stream == "err":
                    streams.say(line.text)
                else:
                    streams.put(line.text, drawn=True)
                if self._lines.empty():
                    self._tell_left_out()
                    streams.flush()

    def _tell_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            streams.put(f"({count:,} lines were not shown: they came too fast)", drawn=True)
