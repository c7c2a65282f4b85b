"""NATS in a directory."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from flowyard_embedded.servers import leftovers, ports, wheels
from flowyard_embedded.servers.accounts import choose_account, give, require_reach
from flowyard_embedded.servers.home import Home, taken, write_secret
from flowyard_embedded.servers.nats_config import Limits, Subjects, write_config
from flowyard_embedded.servers.process import Program, ServerProcess, start

TITLE: Final = "NATS"
DEFAULT_LIMITS: Final = Limits()
_STOP_SIGNALS: Final = (signal.SIGTERM,)
_ANSWER_WITHIN_S: Final = 1.0


@dataclass(frozen=True)
class NatsServer:
    """`store`: the directory of JetStream's streams. It may be deleted while the server is down."""

    process: ServerProcess
    port: int
    store: Path
    passwords: Mapping[str, SecretStr]

    def url(self, user: str) -> SecretStr:
        return SecretStr(f"nats://{user}:{self.passwords[user].get_secret_value()}@{ports.LOOPBACK}:{self.port}")


def start_nats(
    home: Path,
    *,
    users: Mapping[str, Subjects],
    port: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    give_up: threading.Event | None = None,
) -> NatsServer:
    """Starts NATS with JetStream on 127.0.0.1, for these users only, and returns when it answers.

    Users keep their random passwords from start to start. Ends what a dead owner left running in `home` first;
    without `port` it takes a free one. Raises ServerRunning, ServerFailed, PortTaken, UnusableDirectory,
    ServerNotInstalled.
    """
    with taken(home, TITLE) as mine:
        store = mine.path / "store"
        account = choose_account(store)
        require_reach(mine.path, account)
        _end_leftovers(mine)
        command: list[str | Path] = [wheels.nats_program(mine.path, account), "--config", _config_of(mine)]
        program = Program(TITLE, command, account, mine.path / "nats.log", _STOP_SIGNALS)
        passwords = _passwords(mine.path / "passwords.json", users)
        store.mkdir(mode=0o700, exist_ok=True)
        give(store, account)
        name = f"flowyard-{secrets.token_hex(8)}"
        config = partial(write_config, name=name, store=store, users=users, passwords=passwords, limits=limits)
        stopper = give_up or threading.Event()

        def start_at(chosen: int) -> NatsServer:
            write_secret(_config_of(mine), config(port=chosen), reader=account)
            process = start(program, mine, ready=lambda _: _answers(chosen, name), give_up=stopper)
            return NatsServer(process, chosen, store, passwords)

        return ports.start_on(port, TITLE, start_at)


def end_nats(home: Path) -> None:
    """Ends what a dead owner left running in `home`. Raises ServerRunning if the owner lives."""
    with taken(home, TITLE) as mine:
        _end_leftovers(mine)
        mine.release()


def _end_leftovers(home: Home) -> None:
    leftovers.end(TITLE, leftovers.find_given(_config_of(home), name="nats-server"), _STOP_SIGNALS)


def _config_of(home: Home) -> Path:
    return home.path / "nats.conf"


def _passwords(file: Path, users: Collection[str]) -> dict[str, SecretStr]:
    """The password of each user: those in the file, and new ones for new users."""
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    passwords = {user: known.get(user) or secrets.token_urlsafe(24) for user in users}
    write_secret(file, json.dumps(passwords, indent=2))
    return {user: SecretStr(password) for user, password in passwords.items()}


def _answers(port: int, name: str) -> bool:
    """NATS sends its name at once to each connection: so another server on the port isn't taken for ours."""
    try:
        with socket.create_connection((ports.LOOPBACK, port), timeout=_ANSWER_WITHIN_S) as connection:
            return name.encode() in connection.recv(4096)
    except OSError:
        return False
