"""Where the lines of all services go: each to a file of its own, and to the screen."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from flowyard_embedded.stack.lines import SUPERVISOR, Style, readable, written
from flowyard_embedded.stack.logfile import LogFile
from flowyard_embedded.stack.screen import Screen

_REMEMBERED: Final = 8
_PLAIN: Final = Style(width=0, colours=False)


class Output:
    """`as_json`: log lines are shown as they are written, and nothing else on standard output."""

    def __init__(self, logs: Path, screen: Screen, *, as_json: bool, width: int) -> None:
        self._logs = logs
        self._screen = screen
        self._as_json = as_json
        self._style = Style(width, colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        self._files: dict[str, LogFile] = {}
        self._last: dict[str, deque[bytes]] = {}

    def lines(self, name: str, lines: Sequence[bytes]) -> None:
        """What a service has written, without the ends of the lines."""
        if name not in self._files:
            self._files[name] = LogFile(self._logs / f"{name}.log")
            self._last[name] = deque(maxlen=_REMEMBERED)
        self._files[name].write(b"\n".join([*lines, b""]))
        self._last[name].extend(lines)
        if not self._screen.closed:
            for line in lines:
                text = line.decode(errors="replace")
                self._screen.show(text if self._as_json else readable(name, text, self._style))

    def report(self, level: str, event: str, **fields: Any) -> None:
        """A line of the supervisor itself."""
        self.lines(SUPERVISOR, [written(level, event, fields, datetime.now(UTC)).encode()])

    def progress(self, text: str) -> None:
        """What happens while the stack starts and ends."""
        self._screen.show(text, stream="err")

    def result(self, text: str) -> None:
        """Where to go."""
        self._screen.show(text, stream="err" if self._as_json else "out")

    def last_lines(self, name: str) -> list[str]:
        return [readable("", line.decode(errors="replace"), _PLAIN).strip() for line in self._last.get(name, ())]

    def close(self) -> None:
        self._screen.close()
        for file in self._files.values():
            file.close()
