"""How many processor cores this process may use, and how many executors are started for them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

MOST_EXECUTORS: Final = 64
MOST_SANDBOXES: Final = 16
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""In a container, that of its control group: `200000 100000` are two cores, `max 100000` is no limit."""


def executors_for(cores: int) -> int:
    """One core is left to the other services, to Postgres and NATS."""
    return min(max(cores - 1, 1), MOST_EXECUTORS)


def usable_cores(quota: Path = _QUOTA) -> int:
    """`quota`: the file that says how much of them."""
    # macOS can't bind a process to cores.
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        used, _, period = quota.read_text().partition(" ")
        return min(bound, max(math.floor(int(used) / int(period)), 1))
    except (OSError, ValueError):
        return bound
