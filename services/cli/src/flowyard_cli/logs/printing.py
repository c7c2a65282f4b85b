"""Prints log lines, for people or as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from flowyard_cli.logs.line import LogLine
from flowyard_embedded.stack.logs import LineStyle, render_fact, render_time
from flowyard_embedded.streams import flush, printable, put

_WIDTH: Final = len("executor-1")


class LinePrinter:
    """`as_json`: a JSON object per line. `single_run`: all lines have the same `run_id`, so it isn't shown."""

    def __init__(self, *, as_json: bool, single_run: bool) -> None:
        self._as_json = as_json
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._style = LineStyle(_WIDTH, colours, dated=True, hidden=frozenset({"run_id"} if single_run else ()))

    def show(self, lines: list[LogLine]) -> None:
        """Raises UnwritableOutput."""
        for line in lines:
            put(_as_json(line) if self._as_json else self._readable(line), drawn=True)
        flush()

    def _readable(self, line: LogLine) -> str:
        try:
            if line.fact is not None:
                return render_fact(line.name, line.fact, self._style)
        except (ValueError, KeyError, TypeError):
            pass
        at = f"{render_time(line.at, self._style)} " if line.at else ""
        return f"{printable(line.name):<{_WIDTH}} {at}{printable(line.text)}"


def _as_json(line: LogLine) -> str:
    """The line as the service wrote it, with the name of its process. Other lines become JSON too."""
    if line.fact is None:
        return json.dumps({"ts": line.at.isoformat() if line.at else None, "service": line.name, "event": line.text})
    which = {} if line.name == line.service else {"process": line.name}
    return json.dumps({**line.fact, **which})
