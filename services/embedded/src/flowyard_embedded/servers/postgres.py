"""Postgres in a directory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from flowyard_embedded.servers import ports
from flowyard_embedded.servers.cluster import STOP_SIGNALS, SUPERUSER, TITLE, Cluster, end_leftovers, open_cluster
from flowyard_embedded.servers.home import taken
from flowyard_embedded.servers.process import Program, ServerProcess, start

_NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})
_LONGEST_SOCKET_DIRECTORY: Final = 85
"""In bytes. The path of a socket may have about 100, and `/.s.PGSQL.65535` is added to it."""


@dataclass(frozen=True)
class PostgresServer:
    """`socket_directory`: of its Unix socket; None if the path would be too long for a socket."""

    process: ServerProcess
    port: int
    password: SecretStr
    socket_directory: Path | None

    @property
    def url(self) -> SecretStr:
        """The URL of the database `postgres`, as its superuser, over TCP."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> SecretStr:
        return self.url_for(SUPERUSER, self.password, database)

    def url_for(self, role: str, password: SecretStr, database: str) -> SecretStr:
        return SecretStr(f"postgresql://{role}:{password.get_secret_value()}@{ports.LOOPBACK}:{self.port}/{database}")


def start_postgres(
    home: Path,
    *,
    port: int | None = None,
    settings: Mapping[str, str] = _NO_SETTINGS,
    give_up: threading.Event | None = None,
) -> PostgresServer:
    """Starts Postgres on 127.0.0.1, the first time with a new cluster, and returns when it's ready.

    Ends what a dead owner left running in `home` first. `settings`: by their names in postgresql.conf.
    Without `port` it takes a free one. Raises ServerRunning, ServerFailed, PortTaken, UnusableDirectory,
    ServerNotInstalled.
    """
    with taken(home, TITLE) as mine:
        cluster = open_cluster(mine)
        start_at = partial(_start_at, cluster, settings=settings, give_up=give_up or threading.Event())
        return ports.start_on(port, TITLE, start_at)


def end_postgres(home: Path) -> None:
    """Ends what a dead owner left running in `home`. Raises ServerRunning if the owner lives."""
    with taken(home, TITLE) as mine:
        end_leftovers(mine)
        mine.release()


def _start_at(cluster: Cluster, port: int, *, settings: Mapping[str, str], give_up: threading.Event) -> PostgresServer:
    sockets = cluster.data if len(bytes(cluster.data)) <= _LONGEST_SOCKET_DIRECTORY else None
    command: list[str | Path] = [cluster.programs / "postgres", "-D", cluster.data, *_options(port, sockets, settings)]
    program = Program(TITLE, command, cluster.account, cluster.log, STOP_SIGNALS)
    process = start(program, cluster.home, ready=partial(_is_ready, cluster.data), give_up=give_up)
    return PostgresServer(process, port, cluster.password, sockets)


def _options(port: int, sockets: Path | None, settings: Mapping[str, str]) -> list[str]:
    all_settings = {
        **settings,
        "port": str(port),
        "listen_addresses": ports.LOOPBACK,
        # A list, in which a comma separates unless it is quoted.
        "unix_socket_directories": '"{}"'.format(str(sockets).replace('"', '""')) if sockets else "",
        "unix_socket_permissions": "0700",
    }
    return [word for name, value in all_settings.items() for word in ("-c", f"{name}={value}")]


def _is_ready(data: Path, pid: int) -> bool:
    """Reads postmaster.pid: line 1 is the process id, line 8 the state."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
