"""Where a stack keeps what it has: one directory, and who holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard_embedded.servers.faults import ServerRunning, UnusableDirectory, told_of
from flowyard_embedded.servers.home import Home, taken

TITLE: Final = "Flowyard"
_ROOT: Final = 0
# Root's home is closed to whom root starts servers as.
_FOR_ROOT: Final = Path("/var/lib/flowyard")


@dataclass(frozen=True, slots=True)
class Place:
    """`path`: absolute, and without links."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def nats(self) -> Path:
        return self.path / "nats"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def state(self) -> Path:
        """What runs; no secrets."""
        return self.path / "stack.json"

    @property
    def secret_key(self) -> Path:
        """With it secret inputs are sealed: without it, those of the runs that are kept can't be opened any more."""
        return self.path / "secret.key"

    @property
    def client(self) -> Path:
        """The address and the key that the command line uses itself."""
        return self.path / "cli.json"


def find_place(given: str | None, environment: Mapping[str, str]) -> Place:
    """The directory that was asked for, else $FLOWYARD_DATA, else this user's own one. It needn't exist."""
    return Place((Path(given).expanduser() if given else _default(environment)).absolute().resolve())


def _default(environment: Mapping[str, str]) -> Path:
    if named := environment.get("FLOWYARD_DATA"):
        return Path(named).expanduser()
    if os.geteuid() == _ROOT:
        return _FOR_ROOT
    # As the XDG specification has it: a relative path there is to be ignored.
    shared = Path(environment.get("XDG_DATA_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".local" / "share") / "flowyard"


def take(place: Place) -> Home:
    """Makes the directory, and is its only user until `release`. Raises ServerRunning, UnusableDirectory."""
    with told_of(place.path):
        _require_own(place)
    with taken(place.path, TITLE) as mine:
        return mine


def owner_of(place: Place) -> int | None:
    """The process whose stack runs here, or None. Makes nothing. Raises UnusableDirectory, ServerRunning."""
    if not place.state.exists():
        return None
    try:
        take(place).release()
    except ServerRunning as error:
        if error.owner is None:
            # It has just come, and hasn't said who it is yet.
            raise
        return error.owner
    return None


def _require_own(place: Place) -> None:
    """A directory is closed to others when it's taken: that must not happen to somebody's home."""
    if place.path.exists() and not place.state.exists() and {path.name for path in place.path.iterdir()} - {"lock"}:
        raise UnusableDirectory(place.path, "it holds other things than Flowyard's; choose an empty one, or a new one")
