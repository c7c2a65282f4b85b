"""The gateway's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.settings import HttpUrl, OptionalUrl, Port, SecretKey, ServiceSettings


class GatewaySettings(ServiceSettings):
    port: Port = 8400
    secret_key: SecretKey = SecretStr("")
    registry_url: Annotated[HttpUrl, Field(description="The registry: http://host:port")] = "http://127.0.0.1:8402"
    dashboard_url: Annotated[OptionalUrl, Field(description="The dashboard: its health is part of the status")] = ""
    mlflow_url: Annotated[OptionalUrl, Field(description="MLflow: its health is part of the status")] = ""
    prometheus_url: Annotated[
        OptionalUrl, Field(description="Prometheus: its firing alerts are part of the status")
    ] = ""
    queue_limit: Annotated[
        int, Field(ge=1, le=10_000_000, description="Runs that may be queued; beyond that, submits are answered 429")
    ] = QUEUE_LIMIT
    inputs_limit: Annotated[
        int, Field(ge=1024, le=64 * 1024 * 1024, description="Bytes that the inputs of a run may have")
    ] = INPUTS_LIMIT
    body_limit: Annotated[
        int, Field(ge=1024, le=128 * 1024 * 1024, description="Bytes that the body of a request may have")
    ] = 2 * 1024 * 1024
    wait_max_s: Annotated[
        float, Field(ge=0, le=300, description="Seconds that a submit may wait for its run at most")
    ] = 300.0
    poll_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds between looks at runs that clients follow, for what NATS lost")
    ] = 1.0
