"""One log line, and which are wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

LEVELS: Final = ("debug", "info", "warning", "error")
_RANKS: Final = {"DEBUG": 0, "INFO": 1, "WARNING": 2, "ERROR": 3, "CRITICAL": 3}
_READS: Final = ("GET", "HEAD")
_FINE: Final = range(400)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """`name`: of the process that wrote it. `fact`: what it says; None: it is no log line of ours."""

    name: str
    at: datetime | None
    text: str
    fact: Mapping[str, Any] | None = None

    @property
    def service(self) -> str:
        return str(self.fact.get("service", self.name)) if self.fact else self.name


@dataclass(frozen=True, slots=True)
class Wanted:
    """`level`: the least. `service`: the name of one, or of one of its processes."""

    run_id: UUID | None = None
    level: str = "info"
    service: str | None = None

    def may_hold(self, text: str) -> bool:
        """A first look, which costs nothing."""
        return self.run_id is None or str(self.run_id) in text

    def wants(self, line: Line) -> bool:
        if self.service is not None and self.service not in (line.name, line.service):
            return False
        if line.fact is None:
            return self.run_id is None
        if self.run_id is not None and line.fact.get("run_id") != str(self.run_id):
            return False
        # That somebody has looked at a run is no part of its story.
        is_look = self.run_id is not None and line.fact.get("method") in _READS and line.fact.get("status") in _FINE
        return (0 if is_look else _RANKS.get(str(line.fact.get("level")), 1)) >= LEVELS.index(self.level)


def parsed(name: str, text: str, at: datetime | None = None) -> Line:
    """`at`: what somebody else says of the line's time; its own word counts more."""
    try:
        fact = json.loads(text) if text.startswith("{") else None
        if fact is not None:
            return Line(name, datetime.fromisoformat(fact["ts"]), text, fact)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return Line(name, at, text)


def dated(lines: Iterable[Line]) -> list[Line]:
    """Lines of one process in their order: what bears no time came right after what was before it."""
    last: datetime | None = None
    found = []
    for line in lines:
        last = line.at or last
        found.append(line if line.at else replace(line, at=last))
    return found


def in_order(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.at or _BEGINNING)
