"""A log line, the filter for lines, and the sources of lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from flowyard.errors.base import FlowyardError

LEVELS: Final = ("debug", "info", "warning", "error")
_RANKS: Final = {"DEBUG": 0, "INFO": 1, "WARNING": 2, "ERROR": 3, "CRITICAL": 3}
_READS: Final = ("GET", "HEAD")
_FINE: Final = range(400)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogLine:
    """`name`: of the process that wrote it. `fact`: the decoded line; None: it isn't a log line of ours."""

    name: str
    at: datetime | None
    text: str
    fact: Mapping[str, Any] | None = None

    @property
    def service(self) -> str:
        return str(self.fact.get("service", self.name)) if self.fact else self.name


@dataclass(frozen=True, slots=True)
class LineFilter:
    """`run_id`: only lines about this run. `level`: the lowest. `service`: of a service, or of one of its processes."""

    run_id: UUID | None = None
    level: str = "info"
    service: str | None = None

    def may_match(self, text: str) -> bool:
        """A quick check before the line is decoded."""
        return self.run_id is None or str(self.run_id) in text

    def matches(self, line: LogLine) -> bool:
        if self.service is not None and self.service not in (line.name, line.service):
            return False
        if line.fact is None:
            return self.run_id is None
        if self.run_id is not None and line.fact.get("run_id") != str(self.run_id):
            return False
        # Requests that only read the run are not part of its history: they count as debug.
        is_read = self.run_id is not None and line.fact.get("method") in _READS and line.fact.get("status") in _FINE
        return (0 if is_read else _RANKS.get(str(line.fact.get("level")), 1)) >= LEVELS.index(self.level)


def decode_line(name: str, text: str, at: datetime | None = None) -> LogLine:
    """`at`: the time of a line that has no time of its own."""
    try:
        fact = json.loads(text) if text.startswith("{") else None
        if fact is not None:
            return LogLine(name, datetime.fromisoformat(fact["ts"]), text, fact)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return LogLine(name, at, text)


def dated(lines: Iterable[LogLine]) -> list[LogLine]:
    """Gives lines without a time that of the line before. The lines must be of one process, in order."""
    last: datetime | None = None
    complete = []
    for line in lines:
        last = line.at or last
        complete.append(line if line.at else replace(line, at=last))
    return complete


def in_order(lines: Iterable[LogLine]) -> list[LogLine]:
    return sorted(lines, key=lambda line: line.at or _BEGINNING)


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
