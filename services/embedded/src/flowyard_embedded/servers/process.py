"""A server's process: its start, its log, its end."""

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

from flowyard_embedded.faults import ServerFailed
from flowyard_embedded.servers.accounts import SystemAccount, run_as
from flowyard_embedded.servers.home import Home

PATIENCE_S: Final = 3.0
"""How long a server may take to end after a signal before it gets the next signal."""
_READY_WITHIN_S: Final = 120.0
"""Long: after a crash Postgres first replays what it wrote."""
_POLL_S: Final = 0.005
_WATCH_S: Final = 0.2
_LOG_BYTES: Final = 10_000_000
_TAIL_BYTES: Final = 4_000
_TAIL_LINES: Final = 6
# Servers get nothing of the user's environment, neither keys nor PG* variables. Their logs are in UTC.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Program:
    """What to run. `stop_signals` are sent one after the other, `PATIENCE_S` apart, before SIGKILL."""

    title: str
    command: Sequence[str | Path]
    account: SystemAccount | None
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
                raise self._failed("was stopped before it was ready")

    async def ended(self) -> int:
        """Waits until the process ends by itself, and limits its log meanwhile. `stop` must still be called.

        Returns the exit code, or minus the number of the signal.
        """
        while (code := self.child.poll()) is None:
            with suppress(OSError):
                trim(self.program.log)
            await asyncio.sleep(_WATCH_S)
        return code

    def stop(self) -> None:
        """Ends the process, with stronger and stronger signals, and unlocks its directory. Harmless if it has ended."""
        self.end()
        self.home.release()

    def kill(self) -> None:
        """Ends the process as `kill -9` does, and unlocks its directory."""
        self.child.kill()
        self.child.wait()
        self.home.release()

    def end(self) -> None:
        """Ends the process as `stop` does, but its directory stays locked."""
        for number in (*self.program.stop_signals, signal.SIGKILL):
            self.child.send_signal(number)
            try:
                self.child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
            return

    def _failed(self, detail: str) -> ServerFailed:
        return ServerFailed(self.program.title, detail, last_lines=_tail(self.program.log, self.log_start))


def start(program: Program, home: Home, *, ready: Callable[[int], bool], give_up: threading.Event) -> ServerProcess:
    """Starts the process in a session of its own, so that Ctrl-C reaches only the supervisor. Returns when it is ready.

    `ready`: gets the process id. Raises ServerFailed: the process has ended then, and the home is still locked.
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
    """Runs the program and waits for its end. Raises ServerFailed if its exit code isn't 0."""
    log = _open_log(program.log)
    try:
        start_of_log = os.fstat(log).st_size
        code = _popen(program, log).wait()
    finally:
        os.close(log)
    if code:
        raise ServerFailed(program.title, f"ended with exit code {code}", last_lines=_tail(program.log, start_of_log))


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
    """Moves the content of a long log to a second file. Writers append, so they continue at the new beginning."""
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
