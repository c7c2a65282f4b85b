"""What the dashboard's routes share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from flowyard_dashboard.parts import DashboardParts


async def _parts(request: Request) -> DashboardParts:
    parts: DashboardParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[DashboardParts, Depends(_parts)]
