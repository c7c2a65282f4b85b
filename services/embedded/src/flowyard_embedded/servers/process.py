"""A server that we start: its process, its log, its end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard_embedded.servers.accounts import Account, run_as
from flowyard_embedded.servers.faults import ServerFailed
from flowyard_embedded.servers.home import Home

PATIENCE_S: Final = 3.0
"""How long a server may take to heed a signal before it gets the next one."""
_READY_WITHIN_S: Final = 120.0
"""Long: after a crash Postgres first replays what it wrote."""
_POLL_S: Final = 0.005
_WATCH_S: Final = 0.05
_LOG_BYTES: Final = 10_000_000
_TAIL_BYTES: Final = 4_000
_TAIL_LINES: Final = 6
# Nothing of ours, neither keys nor PG* variables, is a server's business. It keeps its own time in UTC.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Program:
    """What to run. `stop_signals` are sent one after the other, `PATIENCE_S` apart, before SIGKILL."""

    title: str
    command: Sequence[str | Path]
    account: Account | None
    log: Path
    stop_signals: Sequence[signal.Signals] = ()


@dataclass(frozen=True)
class ServerProcess:
    program: Program
    home: Home
    child: subprocess.Popen[bytes]
    log_start: int

    @property
    def pid(self) -> int:
        return self.child.pid

    def wait_until(self, ready: Callable[[int], bool], give_up: threading.Event) -> None:
        """Raises ServerFailed if the process ends, takes too long, or `give_up` is set."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while not ready(self.pid):
            if self.child.poll() is not None:
                raise self._failed(f"ended with exit code {self.child.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"wasn't ready within {_READY_WITHIN_S:g} s")
            if give_up.wait(_POLL_S):
                raise self._failed("was told to stop before it was ready")

    async def ended(self) -> int:
        """Waits for the process to end by itself and keeps its log short meanwhile; `stop` is still needed then.

        The exit code, or minus the signal.
        """
        while (code := self.child.poll()) is None:
            with suppress(OSError):
                trim(self.program.log)
            await asyncio.sleep(_WATCH_S)
        return code

    def stop(self) -> None:
        """Ends the process, more and more firmly, and gives its directory back. Harmless if it has ended."""
        self.end()
        self.home.release()

    def kill(self) -> None:
        """As `kill -9` would; gives the directory back too."""
        self.child.kill()
        self.child.wait()
        self.home.release()

    def end(self) -> None:
        """As `stop`, but keeps the directory."""
        for number in (*self.program.stop_signals, signal.SIGKILL):
            self.child.send_signal(number)
            try:
                self.child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
            return

    def _failed(self, detail: str) -> ServerFailed:
        return ServerFailed(self.program.title, detail, said=_tail(self.program.log, self.log_start))


def start(program: Program, home: Home, *, ready: Callable[[int], bool], give_up: threading.Event) -> ServerProcess:
    """Starts the process in a session of its own: Ctrl-C is for whoever supervises it. Returns when it's ready.

    `ready` is asked with its number. Raises ServerFailed; then the process has ended, and the home is kept.
    """
    log = _open_log(program.log)
    try:
        start_of_log = os.fstat(log).st_size
        server = ServerProcess(program, home, _popen(program, log), start_of_log)
    finally:
        os.close(log)
    try:
        server.wait_until(ready, give_up)
    except BaseException:
        server.end()
        raise
    return server


def run_to_end(program: Program) -> None:
    """Raises ServerFailed if it doesn't end well."""
    log = _open_log(program.log)
    try:
        start_of_log = os.fstat(log).st_size
        code = _popen(program, log).wait()
    finally:
        os.close(log)
    if code:
        raise ServerFailed(program.title, f"ended with exit code {code}", said=_tail(program.log, start_of_log))


def _popen(program: Program, log: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  # programs of our wheels
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            **run_as(program.account),
        )
    except OSError as error:
        raise ServerFailed(program.title, f"can't be started: {(error.strerror or str(error)).lower()}") from error


def trim(log: Path) -> None:
    """Puts aside what a long log holds. Its writers append, so they go on at its start."""
    if log.stat().st_size > _LOG_BYTES:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def _open_log(log: Path) -> int:
    number = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    trim(log)
    return number


def _tail(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
