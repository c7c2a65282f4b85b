"""The HTTP of a sandbox: health and metrics, without keys: it has no database, and its metrics name no run."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from flowyard.bus.connection import Bus
from flowyard.telemetry.metrics import Metrics
from flowyard.web.app import About, make_app
from flowyard.web.health import Check
from flowyard_sandbox.desk import Desk

ABOUT: Final = "Executes the code of code steps, and nothing else. Executors send it by NATS."


class NoWorkers(Exception):
    """Nothing can execute code of a tier."""


def sandbox_app(desk: Desk, bus: Bus, metrics: Metrics, ending: asyncio.Event) -> FastAPI:
    async def nats() -> str:
        return "connected" if bus.connected else "not connected: no code arrives"

    async def workers() -> str:
        if faults := fault_of(desk):
            raise NoWorkers(faults)
        return ", ".join(f"{tier}: {pool.workers}" for tier, pool in desk.pools.items())

    return make_app(
        About("Flowyard sandbox", version("flowyard"), ABOUT),
        routers=[],
        checks=[Check("nats", nats), Check("workers", workers)],
        metrics=metrics,
        shutting_down=ending,
    )


def fault_of(desk: Desk) -> str:
    """Which tiers can't work now, and why; empty: all can. A tier whose package isn't installed is no fault."""
    return "; ".join(f"{tier}: {pool.fault}" for tier, pool in desk.pools.items() if pool.fault and not pool.workers)
