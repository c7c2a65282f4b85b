"""What the dashboard's handlers use, built once in `main`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from flowyard.bus.connection import Bus
from flowyard.control.live import Live
from flowyard.control.parts import Control
from flowyard.storage.database import Database
from flowyard.storage.keys import CachedKeys, Keys, Sessions
from flowyard.storage.overview import Overview
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from flowyard.web.stream_limits import StreamLimits
from flowyard.web.turns import Turns
from flowyard.web.wrong_keys import WrongKeys
from flowyard_dashboard.assets import Assets
from flowyard_dashboard.pages import Pages
from flowyard_dashboard.run_changes import RunChanges
from flowyard_dashboard.settings import DashboardSettings


@dataclass(frozen=True, slots=True)
class DashboardParts:
    settings: DashboardSettings
    metrics: Metrics
    database: Database
    bus: Bus
    control: Control
    live: Live
    run_changes: RunChanges
    workflows: Workflows
    overview: Overview
    keys: Keys
    scrapers: CachedKeys
    sessions: Sessions
    wrong_keys: WrongKeys
    assets: Assets
    pages: Pages
    streams: StreamLimits
    large_answers: Turns
    shutting_down: asyncio.Event


async def _parts(request: Request) -> DashboardParts:
    parts: DashboardParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[DashboardParts, Depends(_parts)]


async def read_form_body(parts: DashboardParts, request: Request) -> dict[str, str]:
    """The values of a submitted form by name. Raises TooLarge, HTTPException."""
    async with request.form(max_part_size=parts.settings.form_limit) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
