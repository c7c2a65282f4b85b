"""What the dashboard is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.settings import Port, ServiceSettings


class DashboardSettings(ServiceSettings):
    port: Port = 8401
    session_hours: Annotated[float, Field(gt=0, le=720, description="Hours after which one has to log in again")] = 12.0
    poll_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds between looks for what NATS didn't tell the open pages")
    ] = 1.0
    queue_limit: Annotated[
        int, Field(ge=1, le=10_000_000, description="Runs that may be queued; beyond that, none is taken")
    ] = QUEUE_LIMIT
    inputs_limit: Annotated[
        int, Field(ge=1024, le=64 * 1024 * 1024, description="Bytes that the inputs of a run may have")
    ] = INPUTS_LIMIT
