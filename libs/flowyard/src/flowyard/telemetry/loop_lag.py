"""How late the event loop is: what every timeout, lease and stream of the process is late by."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from flowyard.telemetry.metrics import ProcessMetrics


async def watch_loop_lag(metrics: ProcessMetrics, *, every_s: float = 0.5) -> NoReturn:
    """Sleeps and looks at the clock, until it is cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + every_s
        await asyncio.sleep(every_s)
        metrics.loop_lag.observe(max(0.0, clock() - due))
