"""What a stack writes: services write their lines to log files, from which they are shown on the screen.

A supervisor must never wait for a reader: a paused terminal, or a pipe that nobody empties, would stop it. So a thread
writes to the screen, and renders what is shown there: thousands of lines at once would hold up the supervisor, too.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from flowyard_embedded import streams
from flowyard_embedded.stack.log_file import FILE_LIMIT, LogFile
from flowyard_embedded.stack.logs import SUPERVISOR, LineStyle, render_line, supervisor_line

_LAST_LINES: Final = 8
"""How many of a service's last lines are shown with the message that it failed."""
_LOOK_S: Final = 0.2
"""How often new lines are shown."""
_CHECK_S: Final = 1.0
"""How often it is looked at how long log files are, when nobody sees them."""
_TIME: Final = b'{"ts": "'
_TIME_LENGTH: Final = len("2026-11-23T12:01:03.456Z")
_PLAIN: Final = LineStyle(width=0, colours=False)
_MOST_WAITING: Final = 5_000
"""How many lines may wait for the screen. More are dropped there; the log files have all of them."""
_CLOSE_WITHIN_S: Final = 1.0

Stream: TypeAlias = Literal["out", "err"]
Renew: TypeAlias = Callable[[int], None]


Line: TypeAlias = str | Callable[[], str]
"""What is shown, or a function that makes it."""


class _ScreenLine(NamedTuple):
    stream: Stream
    text: Line


class Screen:
    """Standard output and standard error. Control characters must have been made visible before a line gets here."""

    def __init__(self) -> None:
        self._lines: queue.Queue[_ScreenLine | None] = queue.Queue(_MOST_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._show, name="screen", daemon=True)
        self._thread.start()
        self.closed = False

    @property
    def room(self) -> int:
        """How many more lines may wait."""
        return _MOST_WAITING - self._lines.qsize()

    def leave_out(self, lines: int) -> None:
        """As if so many lines had been shown for which there is no room."""
        self._left_out += lines

    def show(self, text: Line, *, stream: Stream = "out") -> None:
        if self.closed:
            return
        try:
            self._lines.put_nowait(_ScreenLine(stream, text))
        except queue.Full:
            self.leave_out(1)

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
                text = line.text if isinstance(line.text, str) else line.text()
                if line.stream == "err":
                    streams.say(text)
                else:
                    streams.put(text, drawn=True)
                if self._lines.empty():
                    self._show_left_out()
                    streams.flush()

    def _show_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            streams.put(f"({count:,} lines were not shown: they came too fast)", drawn=True)


class StackOutput:
    """`as_json`: log lines are shown as they are, and are all that is written to standard output."""

    def __init__(self, logs: Path, screen: Screen, *, as_json: bool, width: int, file_limit: int = FILE_LIMIT) -> None:
        self._logs = logs
        self._file_limit = file_limit
        self._screen = screen
        self._as_json = as_json
        self._style = LineStyle(width, colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        self._own = LogFile(logs / f"{SUPERVISOR}.log", limit=file_limit)
        self._files: dict[str, LogFile] = {}
        self._renew: dict[str, Renew] = {}

    def open_log(self, name: str, renew: Renew) -> int:
        """The descriptor of the file to which the service `name` is to append its lines.

        `renew` is called with another one when that file is full.
        """
        if name not in self._files:
            self._files[name] = LogFile(self._logs / f"{name}.log", limit=self._file_limit)
        self._renew[name] = renew
        return self._files[name].descriptor

    def end_log(self, name: str) -> None:
        """To be called when the service has ended."""
        self._files[name].end_line()
        self._show_new()

    async def watch(self) -> None:
        """Shows what services write, and puts full files aside. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_S if self._screen.closed else _LOOK_S)
            self._show_new()
            for name, file in self._files.items():
                if (descriptor := file.renewed()) is not None:
                    self._renew[name](descriptor)

    def log(self, level: str, event: str, **fields: Any) -> None:
        """A log line of the supervisor itself."""
        line = supervisor_line(level, event, fields, datetime.now(UTC)).encode()
        self._own.write(line + b"\n")
        self._show_new()
        self._show(SUPERVISOR, line)

    def show_progress(self, text: str) -> None:
        """A step of the start or of the end."""
        self._show_new()
        self._screen.show(text, stream="err")

    def show_result(self, text: str) -> None:
        """What the start came to: the addresses, and how to end the stack."""
        self._show_new()
        self._screen.show(text, stream="err" if self._as_json else "out")

    def last_lines(self, name: str) -> list[str]:
        lines = self._files[name].last_lines(_LAST_LINES) if name in self._files else ()
        return [render_line("", line.decode(errors="replace"), _PLAIN).strip() for line in lines]

    def close(self) -> None:
        self._show_new()
        self._screen.close()
        for file in (self._own, *self._files.values()):
            file.close()

    def _show_new(self) -> None:
        if self._screen.closed:
            return
        new = [(name, line) for name, file in self._files.items() for line in file.new_lines()]
        room = self._screen.room
        for name, line in _in_order(new[:room]):
            self._show(name, line)
        self._screen.leave_out(len(new[room:]))

    def _show(self, name: str, line: bytes) -> None:
        self._screen.show(partial(self._rendered, name, line))

    def _rendered(self, name: str, line: bytes) -> str:
        text = line.decode(errors="replace")
        return text if self._as_json else render_line(name, text, self._style)


def _in_order(lines: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """By their times. What isn't one of our log lines stays behind the one before it."""
    times, time = [], b""
    for place, (_, line) in enumerate(lines):
        time = line[len(_TIME) : len(_TIME) + _TIME_LENGTH] if line.startswith(_TIME) else time
        times.append((time, place))
    return [lines[place] for _, place in sorted(times)]
