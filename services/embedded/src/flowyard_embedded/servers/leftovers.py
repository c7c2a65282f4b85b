"""Servers that outlived who started them. Only for who holds the lock of their directory.

They are known by our path, which no other program was given: a number may belong to another process by now, and a start
time moves with the clock.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from flowyard_embedded.servers.faults import ServerFailed
from flowyard_embedded.servers.process import PATIENCE_S

_POLL_S: Final = 0.01


def find_given(argument: Path, *, name: str) -> list[psutil.Process]:
    """Processes of this name that were started with the path as an argument."""
    found = psutil.process_iter(["name", "cmdline"])
    return [each for each in found if each.info["name"] == name and str(argument) in (each.info["cmdline"] or ())]


def find_in(directory: Path, *, name: str) -> list[psutil.Process]:
    """Processes of this name that work in the directory."""
    found = psutil.process_iter(["name", "cwd"])
    return [each for each in found if each.info["name"] == name and each.info["cwd"] == str(directory)]


def end(title: str, processes: Sequence[psutil.Process], signals: Sequence[signal.Signals]) -> None:
    """Sends the signals one after the other, then SIGKILL, until all have ended. Raises ServerFailed."""
    for number in (*signals, signal.SIGKILL):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if _have_ended(processes):
            return
    raise ServerFailed(title, f"of an earlier start can't be ended: process {processes[0].pid}")


def _have_ended(processes: Sequence[psutil.Process]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not all(map(_has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _has_ended(process: psutil.Process) -> bool:
    # In a container nobody may ever ask for an orphan's exit code: a zombie has ended too.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
