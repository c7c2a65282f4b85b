"""The dashboard's process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from flowyard.control.core import Core, open_core
from flowyard.control.live import Live
from flowyard.control.parts import make_control
from flowyard.settings import read_settings
from flowyard.storage.history import History
from flowyard.storage.keys import Keys, Sessions
from flowyard.storage.overview import Overview
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.logs import setup_logs
from flowyard.telemetry.loop_lag import watch_loop_lag
from flowyard.web.process import ends_on_signals, run_process
from flowyard.web.serve import serve
from flowyard_dashboard.app import ABOUT, dashboard_app
from flowyard_dashboard.assets import load_assets
from flowyard_dashboard.attempts import Attempts
from flowyard_dashboard.pages import Elsewhere, Pages
from flowyard_dashboard.parts import Parts
from flowyard_dashboard.pulse import Pulse
from flowyard_dashboard.settings import DashboardSettings


def main() -> None:
    settings = read_settings(DashboardSettings, sys.argv[1:], program="flowyard-dashboard", about=ABOUT)
    setup_logs("dashboard", settings.log_level)
    sys.exit(run_process(_run(settings)))


async def _run(settings: DashboardSettings) -> None:
    ending = asyncio.Event()
    with ends_on_signals(ending):
        await run_dashboard(settings, ending)


async def run_dashboard(
    settings: DashboardSettings, ending: asyncio.Event, *, on_listening: Callable[[int], None] | None = None
) -> None:
    """Until `ending` is set. `on_listening` is told the port.

    Raises AssetsMissing, UnknownSchema, Unavailable, CannotListen.
    """
    async with (
        _parts(settings, ending) as parts,
        parts.live.running(ending),
        parts.pulse.running(ending),
        asyncio.TaskGroup() as tasks,
    ):
        watching = tasks.create_task(watch_loop_lag(parts.metrics.process))
        await serve(
            dashboard_app(parts),
            host=settings.host,
            port=settings.port,
            grace_s=settings.grace_s,
            shutting_down=ending,
            on_listening=on_listening,
        )
        watching.cancel()


@asynccontextmanager
async def _parts(settings: DashboardSettings, ending: asyncio.Event) -> AsyncIterator[Parts]:
    async with open_core(settings, "dashboard") as core:
        yield _assembled(settings, core, ending)


def _assembled(settings: DashboardSettings, core: Core, ending: asyncio.Event) -> Parts:
    metrics, database, bus = core.metrics, core.database, core.bus
    assets = load_assets()
    limits = {"queue_limit": settings.queue_limit, "inputs_limit": settings.inputs_limit}
    return Parts(
        settings=settings,
        metrics=metrics,
        database=database,
        bus=bus,
        control=make_control(database, bus, metrics.runs, secret_key=settings.secret_key.get_secret_value(), **limits),
        live=Live(bus, History(database), poll_s=settings.poll_s),
        pulse=Pulse(bus, poll_s=settings.poll_s),
        workflows=Workflows(database),
        overview=Overview(database),
        keys=Keys(database),
        sessions=Sessions(database),
        attempts=Attempts(),
        assets=assets,
        pages=Pages(assets, Elsewhere(settings.mlflow_public_url, settings.grafana_public_url)),
        shutting_down=ending,
    )
