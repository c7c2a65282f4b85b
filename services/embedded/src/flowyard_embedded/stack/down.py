"""Ends a stack from outside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from flowyard_embedded.servers.nats import end_nats
from flowyard_embedded.servers.postgres import end_postgres
from flowyard_embedded.stack.leftovers import end_leftovers, find_leftovers
from flowyard_embedded.stack.place import Place, owner_of, take
from flowyard_embedded.stack.state import read_state, write_state

WITHIN_S: Final = 15.0
_POLL_S: Final = 0.1


def end_owner(place: Place, pid: int, say: Callable[[str], None]) -> bool:
    """Asks the supervisor to end the stack. False: it hasn't within WITHIN_S.

    `pid` is its own as long as it holds the place, as `owner_of` has just found.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    told: set[str] = set()
    for name in _ended(place, pid):
        if name not in told:
            told.add(name)
            say(f"  {name}: ended")
    return owner_of(place) != pid


def _ended(place: Place, pid: int) -> Iterator[str]:
    """The names of what has ended, again and again, until all has."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        gone = owner_of(place) != pid
        state = read_state(place.state)
        if state and state.pid == pid and state.phase in {"ending", "ended"}:
            yield from (part.name for part in state.parts if part.state == "down")
        if gone:
            return
        time.sleep(_POLL_S)


def end_orphans(place: Place) -> bool:
    """Ends what a supervisor that was killed left running. False: none was. Raises ServerRunning, ServerFailed."""
    state = read_state(place.state)
    if state is None or state.phase == "ended":
        return False
    mine = take(place)
    try:
        end_leftovers(find_leftovers(place.path))
        for home, end in ((place.nats, end_nats), (place.postgres, end_postgres)):
            if home.exists():
                end(home)
        ended = [replace(part, state="down", pid=None) for part in state.parts]
        write_state(place.state, replace(state, phase="ended", parts=ended))
    finally:
        mine.release()
    return True
