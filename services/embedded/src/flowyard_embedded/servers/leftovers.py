"""Processes that outlived the process that started them. The caller must hold the lock of their directory.

They are recognised by a path that only we give to a program. A process id may belong to another process by now, and a
start time moves with the clock.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from flowyard_embedded.faults import ServerFailed
from flowyard_embedded.servers.process import PATIENCE_S

_POLL_S: Final = 0.01


def find_given(argument: Path, *, name: str) -> list[psutil.Process]:
    """Processes of this name that were started with the path as an argument."""
    processes = psutil.process_iter(["name", "cmdline"])
    return [each for each in processes if each.info["name"] == name and str(argument) in (each.info["cmdline"] or ())]


def find_in(directory: Path, *, name: str) -> list[psutil.Process]:
    """Processes of this name that work in the directory."""
    processes = psutil.process_iter(["name", "cwd"])
    return [each for each in processes if each.info["name"] == name and each.info["cwd"] == str(directory)]


def end(
    title: str, processes: Sequence[psutil.Process], signals: Sequence[signal.Signals], *, grace_s: float = 0.0
) -> None:
    """Sends the signals one after the other, then SIGKILL, until all have ended. Raises ServerFailed.

    `grace_s`: how long they may take to end by themselves before the first signal.
    """
    if _have_ended(processes, within_s=grace_s):
        return
    for number in (*signals, signal.SIGKILL):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if _have_ended(processes, within_s=PATIENCE_S):
            return
    raise ServerFailed(title, f"of an earlier start can't be ended: process {processes[0].pid}")


def _have_ended(processes: Sequence[psutil.Process], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not all(map(_has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _has_ended(process: psutil.Process) -> bool:
    # A zombie has ended too: in a container perhaps no process ever collects its exit code.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
