"""How long a piece of work holds its thread."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from time import thread_time
from typing import Any, Final

LONGEST_S: Final = 0.1
"""Longer work doesn't belong in an event loop."""
LONGEST_OF_SERVICE_S: Final = 0.15
"""Of a service as a whole: its own threads, and other processes of a busy machine, keep its event loop waiting, too."""


def held_s(work: Callable[[], Any], *, repeats: int = 3) -> float:
    """The CPU time of the fastest of `repeats` calls, in seconds. Other processes don't change it."""
    gc.collect()
    times = []
    for _ in range(repeats):
        began = thread_time()
        work()
        times.append(thread_time() - began)
    return min(times)


async def least_held_s(measure: Callable[[], Awaitable[float]], *, tries: int = 3) -> float:
    """The least of `tries` measurements in seconds; the first that is below LONGEST_OF_SERVICE_S ends them.

    A service whose threads compute while its event loop waits for a processor seems to be held. What its own work
    holds, it holds in every try.
    """
    least = await measure()
    for _ in range(tries - 1):
        if least < LONGEST_OF_SERVICE_S:
            break
        least = min(least, await measure())
    return least
