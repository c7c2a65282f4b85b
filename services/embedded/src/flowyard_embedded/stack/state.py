"""The files in a stack's directory that other processes read: `stack.json` and `cli.json`.

`stack.json` may be out of date: `place.owner_of` says whether a stack runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import SecretStr

from flowyard_embedded.servers.home import write_secret

ProcessState: TypeAlias = Literal["starting", "healthy", "silent", "down"]
"""`silent`: it was healthy, runs, and doesn't answer."""
Phase: TypeAlias = Literal["starting", "running", "ending", "ended"]


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One supervised process. `pid`: None while it is down. `starts`: how often it was started, the first included."""

    name: str
    state: ProcessState
    pid: int | None
    port: int | None
    starts: int


@dataclass(frozen=True, slots=True)
class StackState:
    """`pid`: of the supervisor. The URLs are those of the API and of the pages; there are no secrets here."""

    phase: Phase
    pid: int
    version: str
    started_at: datetime
    gateway_url: str | None
    dashboard_url: str | None
    executors: int
    processes: Sequence[ProcessStatus]


class StateFile:
    """Writes `stack.json` at each change. `processes` returns those that the stack has now."""

    def __init__(self, file: Path, processes: Callable[[], Sequence[ProcessStatus]], *, executors: int) -> None:
        self._file = file
        self._processes = processes
        now = datetime.now(UTC)
        self._state = StackState("starting", os.getpid(), version("flowyard"), now, None, None, executors, ())
        self.update()

    def update(self) -> None:
        """To be called when a process has changed."""
        write_state(self._file, replace(self._state, processes=self._processes()))

    def enter(self, phase: Phase) -> None:
        self._state = replace(self._state, phase=phase)
        self.update()

    def set_urls(self, gateway_url: str, dashboard_url: str) -> None:
        self._state = replace(self._state, gateway_url=gateway_url, dashboard_url=dashboard_url)
        self.update()


def write_state(file: Path, state: StackState) -> None:
    """Whole or not at all. Ignores an OSError: the stack runs without this file."""
    new = file.with_name(f"{file.name}.new")
    text = json.dumps({**asdict(state), "started_at": state.started_at.isoformat()}, indent=2)
    with suppress(OSError):
        new.write_text(f"{text}\n", encoding="utf-8")
        new.chmod(0o600)
        new.replace(file)


def read_state(file: Path) -> StackState | None:
    """None if the file is missing, unreadable, or not as this version writes it."""
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        processes = tuple(ProcessStatus(**process) for process in data.pop("processes"))
        started_at = datetime.fromisoformat(data.pop("started_at"))
        return StackState(**data, started_at=started_at, processes=processes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """What `cli.json` holds: the gateway's URL, and the API key that the command line uses there."""

    url: str
    key: SecretStr


def read_access(file: Path) -> GatewayAccess | None:
    """None if the file is missing, unreadable, or damaged."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return GatewayAccess(str(data["url"]), SecretStr(str(data["key"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_access(file: Path, access: GatewayAccess) -> None:
    """Readable by its owner only. Raises OSError."""
    write_secret(file, json.dumps({"url": access.url, "key": access.key.get_secret_value()}, indent=2) + "\n")
