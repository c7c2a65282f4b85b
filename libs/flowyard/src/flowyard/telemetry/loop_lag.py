"""Measures the lag of the event loop, by which every timeout, lease and stream of the process is delayed."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from flowyard.telemetry.metrics import ProcessMetrics


async def watch_loop_lag(metrics: ProcessMetrics, *, every_s: float = 0.5) -> NoReturn:
    """Measures every `every_s` seconds until it is cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        expected = clock() + every_s
        await asyncio.sleep(every_s)
        metrics.loop_lag.observe(max(0.0, clock() - expected))
