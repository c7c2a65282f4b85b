"""A source of log lines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence, Set
from typing import Protocol, TypeAlias

from flowyard.errors.base import FlowyardError
from flowyard_cli.logs.line import LineFilter, LogLine

OnLine: TypeAlias = Callable[[LogLine], None]
"""Called with each new line."""


class NoLogs(FlowyardError, code="no_logs"):
    """The logs of the services aren't on this machine, or can't be read."""

    def __init__(self, why: str) -> None:
        super().__init__(f"can't read the services' logs: {why}")


class Source(Protocol):
    """The lines of all processes of a stack. `where`: the source's name in messages."""

    where: str

    @property
    def names(self) -> Set[str]:
        """The names of the processes that are known so far."""

    def newest(self, line_filter: LineFilter, most: int | None) -> Sequence[LogLine]:
        """The newest matching lines, in any order. `most`: of each process. Raises NoLogs."""

    def follow(self, line_filter: LineFilter, on_line: OnLine, stop: threading.Event) -> None:
        """Calls `on_line` with matching lines that come after those of `newest`, until `stop` is set. Raises NoLogs."""
