"""What the machine, or the container, gives to this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUPS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of version 2 and of version 1."""


def memory_limit() -> float:
    """The most bytes that this process can use: the limit of its container, or all memory of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _CGROUPS:
        try:
            # `max`: there is no limit.
            return min(float(machine), float(int(file.read_text(encoding="ascii"))))
        except (OSError, ValueError):
            continue
    return float(machine)
