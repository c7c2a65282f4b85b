"""The settings of the gateway."""

from __future__ import annotations

from pydantic import Field, SecretStr

from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.language.installation import HOOK_SECRETS
from flowyard.notify.secrets import WebhookSecret
from flowyard.service.hook_settings import HookVariables
from flowyard.settings import HttpUrl, OptionalUrl, Port, SecretKey, ServiceSettings
from flowyard.web.cors import Origins
from flowyard.web.pages.settings import PublicUrl, SessionHours
from flowyard.web.stream_limits import STREAMS_LIMIT, STREAMS_PER_KEY
from flowyard.web.wrong_keys import TrustedProxies


class GatewaySettings(ServiceSettings):
    port: Port = 8400
    secret_key: SecretKey = SecretStr("")
    webhook_secret: WebhookSecret = SecretStr("")
    registry_url: HttpUrl = Field("http://127.0.0.1:8402", description="URL of the registry: http://host:port")
    dashboard_url: OptionalUrl = Field("", description="URL of the dashboard, to show its health in the status")
    dashboard_public_url: PublicUrl = Field(
        "", description="URL of the dashboard for browsers: the chat page links to the runs there"
    )
    mlflow_url: OptionalUrl = Field("", description="URL of MLflow, to show its health in the status")
    prometheus_url: OptionalUrl = Field("", description="URL of Prometheus, to show its firing alerts in the status")
    queue_limit: int = Field(
        QUEUE_LIMIT, ge=1, le=10_000_000, description="Runs that may be queued; more are refused with 429"
    )
    inputs_limit: int = Field(INPUTS_LIMIT, ge=1024, le=64 * 1024 * 1024, description="Most bytes of a run's inputs")
    session_hours: SessionHours = 12.0
    body_limit: int = Field(
        2 * 1024 * 1024, ge=1024, le=128 * 1024 * 1024, description="Most bytes of a request's body"
    )
    streams_limit: int = Field(STREAMS_LIMIT, ge=1, le=100_000, description="Streams of events that may be open")
    streams_per_key: int = Field(
        STREAMS_PER_KEY, ge=1, le=100_000, description="Streams of events that may be open per API key"
    )
    wait_max_s: float = Field(
        300.0, ge=0, le=300, description="Most seconds that a submit can wait for the end of its run"
    )
    trusted_proxies: TrustedProxies = ()
    public_url: OptionalUrl = Field(
        "", description="URL of the gateway for the outside, which some senders of webhooks sign: https://host"
    )
    hook_variables: HookVariables = HOOK_SECRETS
    referenced_files: str = Field(
        "", description="Folder of the files to which webhooks in documents may refer as ${file:NAME}"
    )
    cors_origins: Origins = ()
    poll_s: float = Field(
        1.0, gt=0, le=60, description="Seconds between polls of followed runs, for messages that NATS lost"
    )
