"""What the registry is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flowyard.settings import Port, ServiceSettings


class RegistrySettings(ServiceSettings):
    port: Port = 8402
    agent_ttl_s: Annotated[
        float, Field(ge=1, le=86_400, description="Seconds without a sign of life after which an agent is forgotten")
    ] = 60.0
    agent_heartbeat_s: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds between the signs of life that agents are asked for")
    ] = 20.0
    sweep_s: Annotated[
        float, Field(gt=0, le=3600, description="Seconds between looks for agents that are gone, and for stray runs")
    ] = 10.0
