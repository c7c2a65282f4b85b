"""The settings of the registry."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from flowyard.export.addresses import http_address
from flowyard.service.installation import InstallationSettings
from flowyard.settings import Port


def _url(text: str) -> str:
    return http_address(text) if text else text


class RegistrySettings(InstallationSettings):
    port: Port = 8402
    agent_ttl_s: float = Field(
        60.0, ge=1, le=86_400, description="Seconds without a heartbeat after which an agent is removed"
    )
    agent_heartbeat_s: float = Field(
        20.0, gt=0, le=86_400, description="Seconds between the heartbeats that agents should send"
    )
    sweep_s: float = Field(
        10.0, gt=0, le=3600, description="Seconds between sweeps for lost agents, and for runs of deleted workflows"
    )
    mlflow_url: Annotated[str, AfterValidator(_url)] = Field(
        "", description="URL of MLflow, to which finished runs are exported: http://host:port"
    )
    export_most_waiting: int = Field(
        100_000, ge=1, description="Finished runs that may wait for export; if there are more, the oldest are dropped"
    )
