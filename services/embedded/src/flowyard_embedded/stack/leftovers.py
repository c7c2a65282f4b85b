"""Services that outlived their supervisor. Only for who holds the stack's directory."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from flowyard_embedded.servers.leftovers import end
from flowyard_embedded.stack.leash import GRACE_S, MODULE

_POLL_S: Final = 0.05


def find_leftovers(data: Path) -> dict[str, psutil.Process]:
    """By the service's name. They are known by our path, which no other program was given."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if MODULE in words and words[words.index(MODULE) + 1 :][:1] == [str(data)]:
            found[words[words.index(MODULE) + 2]] = process
    return found


def end_leftovers(services: dict[str, psutil.Process]) -> None:
    """Gives them the time to end that their leash gives them, then kills. Raises ServerFailed."""
    deadline = time.monotonic() + GRACE_S
    while any(map(_runs, services.values())) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    end("a service", list(services.values()), [])


def _runs(process: psutil.Process) -> bool:
    # In a container nobody may ever ask for an orphan's exit code: a zombie has ended too.
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
