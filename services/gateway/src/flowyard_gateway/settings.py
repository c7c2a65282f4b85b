"""The settings of the gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.settings import HttpUrl, OptionalUrl, Port, SecretKey, ServiceSettings


class GatewaySettings(ServiceSettings):
    port: Port = 8400
    secret_key: SecretKey = SecretStr("")
    registry_url: Annotated[HttpUrl, Field(description="URL of the registry: http://host:port")] = (
        "http://127.0.0.1:8402"
    )
    dashboard_url: Annotated[
        OptionalUrl, Field(description="URL of the dashboard, to show its health in the status")
    ] = ""
    mlflow_url: Annotated[OptionalUrl, Field(description="URL of MLflow, to show its health in the status")] = ""
    prometheus_url: Annotated[
        OptionalUrl, Field(description="URL of Prometheus, to show its firing alerts in the status")
    ] = ""
    queue_limit: Annotated[
        int, Field(ge=1, le=10_000_000, description="Runs that may be queued; more are refused with 429")
    ] = QUEUE_LIMIT
    inputs_limit: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024, description="Most bytes of a run's inputs")] = (
        INPUTS_LIMIT
    )
    body_limit: Annotated[int, Field(ge=1024, le=128 * 1024 * 1024, description="Most bytes of a request's body")] = (
        2 * 1024 * 1024
    )
    wait_max_s: Annotated[float, Field(ge=0, le=300, description="Most seconds that a submit can wait for its run")] = (
        300.0
    )
    poll_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds between polls of followed runs, for messages that NATS lost")
    ] = 1.0
