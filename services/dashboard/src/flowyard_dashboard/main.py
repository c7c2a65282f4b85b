"""The dashboard's process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from flowyard.control.live import Live
from flowyard.control.parts import make_control
from flowyard.service.connections import open_connections
from flowyard.service.process import run_service, serve_until
from flowyard.settings import read_settings
from flowyard.storage.database import Database
from flowyard.storage.keys import CachedKeys, Keys, Sessions
from flowyard.storage.overview import Overview
from flowyard.storage.workflows import Workflows
from flowyard.web.large_answers import turns_of_large_answers
from flowyard.web.pages.assets import Assets, load_assets
from flowyard.web.pages.entrance import Entrance
from flowyard.web.stream_limits import StreamLimits
from flowyard.web.wrong_keys import WrongKeys
from flowyard_dashboard.app import ABOUT, dashboard_app
from flowyard_dashboard.pages import SITE, ExternalLinks, dashboard_pages
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.run_changes import RunChanges
from flowyard_dashboard.settings import DashboardSettings


def main() -> None:
    settings = read_settings(DashboardSettings, sys.argv[1:], program="flowyard-dashboard", about=ABOUT)
    sys.exit(run_service("dashboard", settings, partial(run_dashboard, settings)))


async def run_dashboard(
    settings: DashboardSettings, shutting_down: asyncio.Event, *, on_listening: Callable[[int], None] | None = None
) -> None:
    """Runs until `shutting_down` is set. Calls `on_listening` with the port once it listens.

    Raises AssetsMissing, UnknownSchema, Unavailable, CannotListen.
    """
    async with (
        _parts(settings, shutting_down) as parts,
        parts.live.running(shutting_down),
        parts.run_changes.running(shutting_down),
    ):
        app = dashboard_app(parts)
        await serve_until(shutting_down, app, settings, metrics=parts.metrics.process, on_listening=on_listening)


@asynccontextmanager
async def _parts(settings: DashboardSettings, shutting_down: asyncio.Event) -> AsyncIterator[DashboardParts]:
    async with open_connections(settings, "dashboard") as opened:
        metrics, database, bus = opened.metrics, opened.database, opened.bus
        limits = {"queue_limit": settings.queue_limit, "inputs_limit": settings.inputs_limit}
        secret_key = settings.secret_key.get_secret_value()
        control = make_control(database, bus, metrics, **limits, secret_key=secret_key)
        assets = load_assets(SITE)
        yield DashboardParts(
            settings=settings,
            metrics=metrics,
            database=database,
            bus=bus,
            control=control,
            live=Live(bus, control.history, control.runs, poll_s=settings.poll_s, by_run=True),
            run_changes=RunChanges(bus, poll_s=settings.poll_s),
            workflows=Workflows(database),
            overview=Overview(database),
            assets=assets,
            entrance=_entrance(settings, database, assets),
            streams=StreamLimits(most=settings.streams_limit, most_per_key=settings.streams_per_key),
            large_answers=turns_of_large_answers(),
            shutting_down=shutting_down,
        )


def _entrance(settings: DashboardSettings, database: Database, assets: Assets) -> Entrance:
    keys = Keys(database)
    return Entrance(
        site=SITE,
        pages=dashboard_pages(assets, ExternalLinks(settings.mlflow_public_url, settings.grafana_public_url)),
        keys=keys,
        sessions=Sessions(database),
        wrong_keys=WrongKeys(settings.trusted_proxies),
        trusted=settings.trusted_proxies,
        session_s=settings.session_hours * 3600,
        form_limit=settings.form_limit,
        scrapers=CachedKeys(keys),
    )
