"""Ends a stack from another process: its supervisor, or what a killed supervisor left running."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from flowyard_embedded.servers import leftovers
from flowyard_embedded.servers.nats import end_nats
from flowyard_embedded.servers.postgres import end_postgres
from flowyard_embedded.stack.leash import GRACE_S, MODULE
from flowyard_embedded.stack.place import Place, owner_of, take
from flowyard_embedded.stack.state import read_state, write_state

WITHIN_S: Final = 15.0
_POLL_S: Final = 0.1


def end_owner(place: Place, pid: int, say: Callable[[str], None]) -> bool:
    """Sends SIGTERM to the supervisor and waits. False: the supervisor still runs after WITHIN_S.

    `pid`: what `owner_of` has just returned; while the supervisor holds the place, no other process can have this id.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    shown: set[str] = set()
    for name in _ended(place, pid):
        if name not in shown:
            shown.add(name)
            say(f"  {name}: ended")
    return owner_of(place) != pid


def _ended(place: Place, pid: int) -> Iterator[str]:
    """The names of the processes that have ended, at each poll, until the supervisor has ended."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        gone = owner_of(place) != pid
        state = read_state(place.state)
        if state and state.pid == pid and state.phase in {"ending", "ended"}:
            yield from (process.name for process in state.processes if process.state == "down")
        if gone:
            return
        time.sleep(_POLL_S)


def end_orphans(place: Place) -> bool:
    """Ends what a killed supervisor left running. False: nothing was left. Raises ServerRunning, ServerFailed."""
    state = read_state(place.state)
    if state is None or state.phase == "ended":
        return False
    mine = take(place)
    try:
        end_leftovers(find_leftovers(place.path))
        for home, end in ((place.nats, end_nats), (place.postgres, end_postgres)):
            if home.exists():
                end(home)
        ended = [replace(process, state="down", pid=None) for process in state.processes]
        write_state(place.state, replace(state, phase="ended", processes=ended))
    finally:
        mine.release()
    return True


def find_leftovers(data: Path) -> dict[str, psutil.Process]:
    """Services that outlived their supervisor, by name. The caller must hold the place.

    They are recognised by the path `data` on their command line: no other program was given it.
    """
    services = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if MODULE in words and words[words.index(MODULE) + 1 :][:1] == [str(data)]:
            services[words[words.index(MODULE) + 2]] = process
    return services


def end_leftovers(services: dict[str, psutil.Process]) -> None:
    """Waits until their leash has ended them, then kills. Raises ServerFailed."""
    leftovers.end("a service", list(services.values()), [], grace_s=GRACE_S)
