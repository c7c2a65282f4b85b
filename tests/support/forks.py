"""Executor processes as forks of one that has imported everything: the imports are most of what a start costs.

Each is a process like any other, with an environment, an output, an exit code and signals of its own. Run as a program,
this is the process that they are forks of.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn


class Fork:
    """As much of `asyncio.subprocess.Process` as tests need."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, exit_code: asyncio.Task[int]) -> None:
        self.pid = pid
        self.stdout = stdout
        self._exit_code = exit_code

    @property
    def returncode(self) -> int | None:
        return self._exit_code.result() if self._exit_code.done() else None

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may have ended a moment ago
            os.kill(self.pid, number)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)


async def start_executor(environ: Mapping[str, str], *, line_limit: int) -> Fork:
    """`line_limit`: of its output, in bytes."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_origin())
    out, into = os.pipe()
    socket.send_fds(connection, [b" "], [into])
    os.close(into)
    connection.sendall(json.dumps(dict(environ)).encode() + b"\n")
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    pid = int(await reader.readline())

    async def exit_code() -> int:
        code = int(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return code

    stdout = asyncio.StreamReader(limit=line_limit)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(out, "rb")
    )
    return Fork(pid, stdout, asyncio.create_task(exit_code()))


@cache
def _origin() -> str:
    """The address of the process that all executors of these tests are forks of. It ends with the tests.

    Blocks for the seconds that it needs to start, when nothing else is at work yet.
    """
    address = f"{tempfile.mkdtemp(prefix='flowyard-forks-')}/socket"
    process = subprocess.Popen([sys.executable, "-P", __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    return address


def _fork_as_asked(address: str) -> None:
    """Until standard input ends."""
    import flowyard_executor.main  # noqa: F401, PLC0415  # only where this file is a program

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _see_to_its_end(connection)
                    os._exit(0)
            _reap()
    _reap()
    Path(address).unlink()
    Path(address).parent.rmdir()


def _reap() -> None:
    """Those of the forks that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _see_to_its_end(connection: socket.socket) -> None:
    """Of the executor that the other end asks for. Sends its process id, and then its exit code."""
    _, [out], *_ = socket.recv_fds(connection, 1, 1)
    with connection.makefile() as lines:
        environ = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        _be_an_executor(environ, out)
    os.close(out)
    connection.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _be_an_executor(environ: Mapping[str, str], out: int) -> NoReturn:
    from flowyard_executor.main import main  # noqa: PLC0415

    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = []
    main()
    sys.exit()


if __name__ == "__main__":
    _fork_as_asked(sys.argv[1])
