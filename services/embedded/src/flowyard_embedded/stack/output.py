"""What a stack writes: each service's lines to a log file of its own and to the screen.

A supervisor must never wait for a reader: a paused terminal, or a pipe that nobody empties, would stop it, and with it
every service that writes a log line. So a thread writes to the screen.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from flowyard_embedded import streams
from flowyard_embedded.stack.logs import SUPERVISOR, LineStyle, LogFile, render_line, supervisor_line

_REMEMBERED: Final = 8
"""How many of a service's last lines are kept, for the message that it failed."""
_PLAIN: Final = LineStyle(width=0, colours=False)
_MOST_WAITING: Final = 5_000
"""How many lines may wait for the screen. More are dropped there; the log files have all of them."""
_CLOSE_WITHIN_S: Final = 1.0

Stream: TypeAlias = Literal["out", "err"]


class _ScreenLine(NamedTuple):
    stream: Stream
    text: str


class Screen:
    """Standard output and standard error. Control characters must have been made visible before a line gets here."""

    def __init__(self) -> None:
        self._lines: queue.Queue[_ScreenLine | None] = queue.Queue(_MOST_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._show, name="screen", daemon=True)
        self._thread.start()
        self.closed = False

    def show(self, text: str, *, stream: Stream = "out") -> None:
        if self.closed:
            return
        try:
            self._lines.put_nowait(_ScreenLine(stream, text))
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Writes the lines that still wait, for at most two seconds; writes nothing from then on."""
        if self.closed:
            return
        self.closed = True
        with suppress(queue.Full):
            self._lines.put(None, timeout=_CLOSE_WITHIN_S)
            self._thread.join(_CLOSE_WITHIN_S)
        if self._thread.is_alive():
            # The thread waits for a reader and holds the locks of both streams: the process's last flush would block.
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # to the end

    def leave(self) -> None:
        """Closes itself as `close` does, and then both streams, so that their readers see the end."""
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
                    self._show_left_out()
                    streams.flush()

    def _show_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            streams.put(f"({count:,} lines were not shown: they came too fast)", drawn=True)


class StackOutput:
    """`as_json`: log lines are shown as they are, and are all that is written to standard output."""

    def __init__(self, logs: Path, screen: Screen, *, as_json: bool, width: int) -> None:
        self._logs = logs
        self._screen = screen
        self._as_json = as_json
        self._style = LineStyle(width, colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        self._files: dict[str, LogFile] = {}
        self._last: dict[str, deque[bytes]] = {}

    def append(self, name: str, lines: Sequence[bytes]) -> None:
        """Lines that the service `name` has written, without their newlines."""
        if name not in self._files:
            self._files[name] = LogFile(self._logs / f"{name}.log")
            self._last[name] = deque(maxlen=_REMEMBERED)
        self._files[name].write(b"\n".join([*lines, b""]))
        self._last[name].extend(lines)
        if not self._screen.closed:
            for line in lines:
                text = line.decode(errors="replace")
                self._screen.show(text if self._as_json else render_line(name, text, self._style))

    def log(self, level: str, event: str, **fields: Any) -> None:
        """A log line of the supervisor itself."""
        self.append(SUPERVISOR, [supervisor_line(level, event, fields, datetime.now(UTC)).encode()])

    def show_progress(self, text: str) -> None:
        """A step of the start or of the end."""
        self._screen.show(text, stream="err")

    def show_result(self, text: str) -> None:
        """What the start came to: the addresses, and how to end the stack."""
        self._screen.show(text, stream="err" if self._as_json else "out")

    def last_lines(self, name: str) -> list[str]:
        return [render_line("", line.decode(errors="replace"), _PLAIN).strip() for line in self._last.get(name, ())]

    def close(self) -> None:
        self._screen.close()
        for file in self._files.values():
            file.close()
