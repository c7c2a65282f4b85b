"""Runs a program, and ends it, with all that it has started, when whoever holds the other end of a socket is gone.

`python watcher.py FD COMMAND [ARG…]`: FD is our end of the socket. The program keeps the standard streams. It imports
nothing but Python's library, and is started as a file, so that it needs little time and memory.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final

GRACE_S: Final = 1.0
"""Between the polite signal and the other one."""
_NOT_STARTED: Final = 127


def main() -> None:
    leash, command = int(sys.argv[1]), sys.argv[2:]
    ended, on_end = os.pipe()
    os.set_blocking(on_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(on_end, warn_on_full_buffer=False)
    child = os.fork()
    if child == 0:
        _become(command, (leash, ended, on_end))
    # The program alone has its streams, so that both ends see when the other one closes them.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    code = None
    while code is None:
        ready, _, _ = select.select([leash, ended], [], [])
        if ended in ready:
            os.read(ended, 64)
        code = _exit_code(child)
        if leash in ready and code is None:
            code = _ended_by_us(child)
    # What it has started, and left behind.
    _signal(child, signal.SIGKILL)
    os._exit(code)


def _become(command: list[str], ours: tuple[int, ...]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in ours:
        os.close(descriptor)
    os.setsid()
    try:
        os.execvp(command[0], command)  # noqa: S606  # what the installation's settings say
    except OSError as error:
        os.write(2, f"{command[0]} can't be started: {error.strerror}\n".encode())
    os._exit(_NOT_STARTED)


def _ended_by_us(child: int) -> int:
    until = time.monotonic() + GRACE_S
    _signal(child, signal.SIGTERM)
    while (code := _exit_code(child)) is None and time.monotonic() < until:
        time.sleep(0.01)
    if code is not None:
        return code
    _signal(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF


def _exit_code(child: int) -> int | None:
    """None while it runs."""
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) & 0xFF if pid else None


def _signal(child: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


if __name__ == "__main__":
    main()
