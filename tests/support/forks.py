"""Processes as forks of one that has imported everything: the imports are most of what a start costs.

Each is a process like any other, with an environment, a folder, streams, an exit code and signals of its own. Run as a
program, this is the process that they are forks of: `forks.py ADDRESS PROGRAM`.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, TypeAlias

from flowyard_embedded.startup import quick_imports

Program: TypeAlias = Literal["executor", "registry", "cli"]

_IMPORTED: Final[Mapping[Program, str]] = {
    "executor": "flowyard_executor.main",
    "registry": "flowyard_registry.main",
    "cli": "support.cli_imports",
}
_BY_THE_INTERPRETER: Final = ("PYTHON", "LANG", "LC_")
"""How variables begin that are read when Python starts: a fork doesn't notice them."""
_LINE_LIMIT: Final = 2**20


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run. `at_terminal`: its streams are one, whose keys send it signals."""

    arguments: list[str]
    environ: dict[str, str]
    folder: str
    at_terminal: bool = False


class Fork:
    """As much of `asyncio.subprocess.Process` as tests need."""

    def __init__(
        self, pid: int, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader, exit_code: asyncio.Task[int]
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._exit_code = exit_code

    @property
    def returncode(self) -> int | None:
        return self._exit_code.result() if self._exit_code.done() else None

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may have ended a moment ago
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    async def communicate(self) -> tuple[bytes, bytes]:
        """What is left of its output, when it has ended."""
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err


async def start(
    program: Program, order: Order, *, stdin: int | None = None, terminal: int | None = None, merged: bool = False
) -> Fork:
    """`stdin`: where it reads from, nothing by default. `terminal`: all of its streams; `merged`: both outputs are one.

    Raises ValueError for variables that a fork would not notice.
    """
    _check(order.environ)
    order = replace(order, at_terminal=terminal is not None)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_origin(program))
    stdout, stderr = asyncio.StreamReader(_LINE_LIMIT), asyncio.StreamReader(_LINE_LIMIT)
    if terminal is not None:
        given, opened = [terminal] * 3, []
    else:
        nothing = os.open(os.devnull, os.O_RDONLY)
        into_out = await _piped(stdout)
        into_err = into_out if merged else await _piped(stderr)
        given = [nothing if stdin is None else stdin, into_out, into_err]
        opened = [nothing, *{into_out, into_err}]
    socket.send_fds(connection, [b" "], given)
    for descriptor in opened:
        os.close(descriptor)
    connection.sendall(json.dumps(asdict(order)).encode() + b"\n")
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    pid = int(await reader.readline())

    async def exit_code() -> int:
        code = int(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return code

    return Fork(pid, stdout, stderr, asyncio.create_task(exit_code()))


def _check(environ: Mapping[str, str]) -> None:
    for name in environ.keys() | os.environ.keys():
        if name.startswith(_BY_THE_INTERPRETER) and environ.get(name) != os.environ.get(name):
            raise ValueError(f"{name} is read when Python starts: this needs a process that isn't a fork")


async def _piped(reader: asyncio.StreamReader) -> int:
    """The end of a pipe into the reader."""
    out, into = os.pipe()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb"))
    return into


_starting: Final = threading.Lock()


def _origin(program: Program) -> str:
    """The address of the process that all others of these tests are forks of. It ends with the tests."""
    with _starting:
        return _started(program)


@cache
def _started(program: Program) -> str:
    """Blocks for the seconds that it needs to start."""
    address = f"{tempfile.mkdtemp(prefix='flowyard-forks-')}/socket"
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _BEGIN, tests, address, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    return address


_BEGIN: Final = "import sys; sys.path.append(sys.argv[1]); from support.forks import main; main(*sys.argv[2:])"


def main(address: str, program: Program) -> None:
    """The program. Returns in the origin when standard input ends, and in each fork when its own program does."""
    with quick_imports():
        import_module(_IMPORTED[program])
    assert threading.active_count() == 1, "a fork has the thread that forks, and no other"
    order = _fork_as_asked(address)
    if order is not None:
        sys.argv = [f"flowyard-{program}", *order.arguments]
        import_module(f"flowyard_{program}.main").main()


def _fork_as_asked(address: str) -> Order | None:
    """Returns in each fork; None in the origin, when standard input ends."""
    forks: dict[int, socket.socket] = {}
    alarm, into_alarm = os.pipe()
    os.set_blocking(into_alarm, False)
    signal.set_wakeup_fd(into_alarm)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            ready: list[int] = select.select([listener.fileno(), alarm, 0], [], [])[0]
            if 0 in ready:
                break
            if alarm in ready:
                os.read(alarm, 4096)
                _report_ends(forks)
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                order, streams = _received(connection)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for other in (connection, *forks.values()):
                        other.close()
                    for descriptor in (alarm, into_alarm):
                        os.close(descriptor)
                    _settle(order, streams)
                    return order
                forks[pid] = connection
                for descriptor in streams:
                    os.close(descriptor)
                connection.sendall(f"{pid}\n".encode())
    Path(address).unlink()
    Path(address).parent.rmdir()
    return None


def _received(connection: socket.socket) -> tuple[Order, list[int]]:
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as lines:
        return Order(**json.loads(lines.readline())), streams


def _report_ends(forks: dict[int, socket.socket]) -> None:
    """Sends the exit codes of those that have ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            with forks.pop(ended[0]) as connection, suppress(OSError):  # who has asked for it may be gone
                connection.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())


def _settle(order: Order, streams: list[int]) -> None:
    """Has all that a process gets from the one that starts it, and what Python makes of that."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in streams:
        os.close(descriptor)
    if order.at_terminal:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environ)
    time.tzset()
    # As Python opens them: https://docs.python.org/3/library/sys.html#sys.stdin
    for name, mode, buffering in (("stdin", "r", -1), ("stdout", "w", -1), ("stderr", "w", 1)):
        old = getattr(sys, name)
        new = open(old.fileno(), mode, buffering, old.encoding, old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
