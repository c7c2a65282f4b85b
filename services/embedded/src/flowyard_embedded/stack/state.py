"""`stack.json`: what runs, for whoever wants to know. It may be out of date: ask `place.owner_of` first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

PartState: TypeAlias = Literal["starting", "healthy", "down"]
Phase: TypeAlias = Literal["starting", "running", "ending", "ended"]


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack. `pid`: None while it's down. `starts`: how often it was started, the first included."""

    name: str
    state: PartState
    pid: int | None
    port: int | None
    starts: int


@dataclass(frozen=True, slots=True)
class StackState:
    """`pid` is that of the supervisor. Addresses are those of the API and of the pages; no secrets."""

    phase: Phase
    pid: int
    version: str
    started_at: datetime
    gateway_url: str | None
    dashboard_url: str | None
    executors: int
    parts: Sequence[Part]


def write_state(file: Path, state: StackState) -> None:
    """Whole or not at all. What the file system refuses is let be: the stack runs without this file."""
    new = file.with_name(f"{file.name}.new")
    text = json.dumps({**asdict(state), "started_at": state.started_at.isoformat()}, indent=2)
    with suppress(OSError):
        new.write_text(f"{text}\n", encoding="utf-8")
        new.chmod(0o600)
        new.replace(file)


def read_state(file: Path) -> StackState | None:
    """None where there is none that we can read."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        parts = tuple(Part(**part) for part in found.pop("parts"))
        started_at = datetime.fromisoformat(found.pop("started_at"))
        return StackState(**found, started_at=started_at, parts=parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
