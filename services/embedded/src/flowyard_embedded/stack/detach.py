"""Work that goes on in the background, once it has said that all is well."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

_WELL: Final = b"+"


def in_background(work: Callable[[Callable[[], None]], int]) -> int:
    """Runs `work` in a process of its own, which it is given a function to call when all is well.

    Returns 0 when that is called, and the exit code of the work if it ends before. To be called while there are no
    other threads. In the new process it returns too: what `work` returned. Ctrl-C ends the work.
    """
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _leave_terminal()
        return work(partial(_tell, writing))
    os.close(writing)
    try:
        if os.read(reading, 1) == _WELL:
            return 0
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _leave_terminal() -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)


def _tell(writing: int) -> None:
    os.write(writing, _WELL)
    os.close(writing)
