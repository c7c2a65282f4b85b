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
from flowyard.storage.overview import Overview
from flowyard.storage.workflows import Workflows
from flowyard.telemetry.metrics import Metrics
from flowyard.web.pages.assets import Assets
from flowyard.web.pages.entrance import Entrance
from flowyard.web.pages.templating import Pages
from flowyard.web.stream_limits import StreamLimits
from flowyard.web.turns import Turns
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
    assets: Assets
    entrance: Entrance
    streams: StreamLimits
    large_answers: Turns
    shutting_down: asyncio.Event

    @property
    def pages(self) -> Pages:
        return self.entrance.pages


async def _parts(request: Request) -> DashboardParts:
    parts: DashboardParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[DashboardParts, Depends(_parts)]
