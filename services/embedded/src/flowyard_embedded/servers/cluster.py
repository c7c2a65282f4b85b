"""The data directory of Postgres: made once, checked at each start; processes of an earlier owner are ended."""

from __future__ import annotations

import secrets
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from flowyard_embedded.faults import OtherPostgresVersion, UnusableDirectory
from flowyard_embedded.servers import leftovers, wheels
from flowyard_embedded.servers.accounts import SystemAccount, choose_account, give, require_reach
from flowyard_embedded.servers.home import Home, write_secret
from flowyard_embedded.servers.process import Program, run_to_end

TITLE: Final = "Postgres"
SUPERUSER: Final = "postgres"
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGQUIT)
"""The fast shutdown, then the immediate one, after which the next start has to recover."""


@dataclass(frozen=True)
class Cluster:
    """`programs`: the folder of `postgres` and its tools."""

    home: Home
    programs: Path
    account: SystemAccount | None
    password: SecretStr

    @property
    def data(self) -> Path:
        return data_of(self.home)

    @property
    def log(self) -> Path:
        return log_of(self.home)


def data_of(home: Home) -> Path:
    return home.path / "data"


def log_of(home: Home) -> Path:
    return home.path / "postgres.log"


def open_cluster(home: Home) -> Cluster:
    """Makes and checks everything that a start needs. The password is random and kept in the file `password`.

    Raises ServerFailed, UnusableDirectory, ServerNotInstalled, OSError.
    """
    data, password = data_of(home), home.path / "password"
    account = choose_account(data)
    require_reach(home.path, account)
    end_leftovers(home)
    programs = wheels.postgres_programs(home.path, account)
    if not data.exists() or not any(data.iterdir()):
        write_secret(password, secrets.token_urlsafe(24))
        _make(home, programs, account, password)
    _check_version(data)
    if not password.exists():
        raise UnusableDirectory(home.path, f"the file '{password.name}' is missing from it")
    return Cluster(home, programs, account, SecretStr(password.read_text(encoding="utf-8")))


def end_leftovers(home: Home) -> None:
    """Raises ServerFailed if they can't be ended."""
    data = data_of(home)
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    leftovers.end(TITLE, leftovers.find_given(data, name="postgres"), STOP_SIGNALS)
    # Sessions outlive a killed server for a while, and a new server refuses to start while they run.
    leftovers.end(TITLE, leftovers.find_in(data, name="postgres"), [signal.SIGQUIT])
    # Postgres would take a new process with the old id for itself.
    pid_file.unlink(missing_ok=True)


def _make(home: Home, programs: Path, account: SystemAccount | None, password: Path) -> None:
    # Made elsewhere and moved: an interrupted start leaves no incomplete cluster.
    new = data_of(home).with_name("data.new")
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    give(new, account)
    readable = password.with_name("password.initdb")
    try:
        write_secret(readable, password.read_text(encoding="utf-8"), reader=account)
        run_to_end(Program("initdb", _initdb(programs, new, readable), account, log_of(home)))
    finally:
        readable.unlink(missing_ok=True)
    new.replace(data_of(home))


def _initdb(programs: Path, data: Path, password: Path) -> list[str | Path]:
    login = [f"--username={SUPERUSER}", "--auth=scram-sha-256", f"--pwfile={password}"]
    # The builtin locale sorts by code point, in the same way on every system and after every update.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [programs / "initdb", "-D", data, *login, *locale, "--no-instructions", "--no-sync"]


def _check_version(data: Path) -> None:
    file = data / "PG_VERSION"
    if not file.exists():
        raise UnusableDirectory(data, "it holds something else than the data of a Postgres")
    version, ours = file.read_text(encoding="ascii", errors="replace").strip(), wheels.postgres_version()
    if version != ours:
        raise OtherPostgresVersion(data, version=version, ours=ours)
