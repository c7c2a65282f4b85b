"""The directory in which a stack keeps everything, and which process holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard_embedded.faults import ServerRunning, UnusableDirectory, needed_directory
from flowyard_embedded.servers.home import Home, taken

TITLE: Final = "Flowyard"
_ROOT: Final = 0
# Servers that root starts run as another user, who can't enter root's home.
_FOR_ROOT: Final = Path("/var/lib/flowyard")


@dataclass(frozen=True, slots=True)
class Place:
    """`path`: absolute, without symbolic links."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def database_roles(self) -> Path:
        """The passwords of the roles in its own Postgres."""
        return self.path / "roles.json"

    @property
    def nats(self) -> Path:
        return self.path / "nats"

    @property
    def events_url(self) -> Path:
        """The address of NATS for programs that read public events."""
        return self.path / "events_url"

    @property
    def messages_url(self) -> Path:
        """The address of NATS for programs that send messages and requests that start runs."""
        return self.path / "messages_url"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def state(self) -> Path:
        """What runs; no secrets in it."""
        return self.path / "stack.json"

    @property
    def secret_key(self) -> Path:
        """The key that seals secret inputs. Without it, secret inputs of stored runs can't be opened."""
        return self.path / "secret.key"

    @property
    def webhook_secret(self) -> Path:
        """What signs notifications to receivers that callers name."""
        return self.path / "webhook.secret"

    @property
    def access(self) -> Path:
        """The gateway's URL and the API key that the command line uses."""
        return self.path / "cli.json"


def find_place(given: str | None, environment: Mapping[str, str]) -> Place:
    """`given`, else $FLOWYARD_DATA, else the directory of this user. It need not exist."""
    return Place((Path(given).expanduser() if given else _default(environment)).absolute().resolve())


def _default(environment: Mapping[str, str]) -> Path:
    if named := environment.get("FLOWYARD_DATA"):
        return Path(named).expanduser()
    if os.geteuid() == _ROOT:
        return _FOR_ROOT
    # The XDG specification says to ignore a relative path here.
    shared = Path(environment.get("XDG_DATA_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".local" / "share") / "flowyard"


def take(place: Place) -> Home:
    """Makes the directory and locks it until `release`. Raises ServerRunning, UnusableDirectory."""
    with needed_directory(place.path):
        _require_own(place)
    with taken(place.path, TITLE) as mine:
        return mine


def owner_of(place: Place) -> int | None:
    """The id of the supervisor that runs here, or None. Raises UnusableDirectory, ServerRunning."""
    if not place.state.exists():
        return None
    try:
        take(place).release()
    except ServerRunning as error:
        if error.owner is None:
            # It has just taken the lock, and hasn't written its id yet.
            raise
        return error.owner
    return None


def _require_own(place: Place) -> None:
    """`take` makes a directory private: that must not happen to a directory with other things in it."""
    if place.path.exists() and not place.state.exists() and {path.name for path in place.path.iterdir()} - {"lock"}:
        raise UnusableDirectory(place.path, "it holds other things than Flowyard's; choose an empty one, or a new one")
