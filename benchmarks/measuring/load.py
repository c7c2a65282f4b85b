"""Runs something many times, and says how fast that was."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from measuring.model import Model

Once = Callable[[], Awaitable[object]]

STEPS = 3
"""Of the chain."""
DELAY_S = 0.1
"""Of the model in the measurements of waiting."""


@dataclass(frozen=True)
class Pair:
    """Runs per second of two, as the medians of their turns. `ratio`: the median of the turns' ratios."""

    ours: float
    floor: float
    ratio: float


async def in_turns(once: Once, floor: Once, *, clients: int, seconds: float, repeat: int) -> Pair:
    """What else the machine does meets both."""
    for warm in (floor, once):
        await at_once(warm, clients)
    ours, floors = [], []
    for _ in range(repeat):
        floors.append(await throughput(floor, clients, seconds))
        ours.append(await throughput(once, clients, seconds))
    ratios = [mine / bare for mine, bare in zip(ours, floors, strict=True)]
    return Pair(statistics.median(ours), statistics.median(floors), statistics.median(ratios))


async def at_once(once: Once, count: int) -> None:
    await asyncio.gather(*(once() for _ in range(count)))


async def throughput(once: Once, clients: int, seconds: float) -> float:
    """Runs per second of so many clients, each of which starts its next run when the last has ended."""
    done = 0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal done
        while time.perf_counter() - started < seconds:
            await once()
            done += 1

    await at_once(client, clients)
    return done / (time.perf_counter() - started)


async def latencies(once: Once, count: int) -> list[float]:
    """Milliseconds of runs that come after each other, sorted."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await once()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def share_of_ideal(once: Once, model: Model, clients: int, seconds: float) -> float:
    """Runs per second with a model that takes 100 ms, of those of a machine that takes no time for the rest."""
    model.delay_s = DELAY_S
    try:
        await at_once(once, clients)
        return await throughput(once, clients, seconds) / (clients / (STEPS * DELAY_S))
    finally:
        model.delay_s = 0.0
