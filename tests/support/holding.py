"""How long a piece of work holds its thread: in CPU time, which other processes don't change."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import thread_time
from typing import Any, Final

LONGEST_S: Final = 0.1
"""Longer work doesn't belong in an event loop."""


def held_s(work: Callable[[], Any], *, repeats: int = 3) -> float:
    """The CPU time of the fastest of `repeats` calls, in seconds."""
    gc.collect()
    times = []
    for _ in range(repeats):
        began = thread_time()
        work()
        times.append(thread_time() - began)
    return min(times)
