"""The settings of the dashboard."""

from __future__ import annotations

from pydantic import Field, SecretStr

from flowyard.control.parts import INPUTS_LIMIT, QUEUE_LIMIT
from flowyard.settings import Port, SecretKey, ServiceSettings
from flowyard.web.pages.settings import PublicUrl, SessionHours
from flowyard.web.wrong_keys import TrustedProxies


class DashboardSettings(ServiceSettings):
    port: Port = 8401
    secret_key: SecretKey = SecretStr("")
    session_hours: SessionHours = 12.0
    poll_s: float = Field(
        1.0, gt=0, le=60, description="Seconds between polls for open pages, for messages that NATS lost"
    )
    queue_limit: int = Field(QUEUE_LIMIT, ge=1, le=10_000_000, description="Runs that may be queued; more are refused")
    inputs_limit: int = Field(INPUTS_LIMIT, ge=1024, le=64 * 1024 * 1024, description="Most bytes of a run's inputs")
    streams_limit: int = Field(200, ge=1, le=100_000, description="Open pages that may be updated at the same time")
    streams_per_key: int = Field(
        100, ge=1, le=100_000, description="Open pages per API key that may be updated at the same time"
    )
    trusted_proxies: TrustedProxies = ()
    mlflow_public_url: PublicUrl = Field("", description="URL of MLflow for browsers: the dashboard shows it on a page")
    grafana_public_url: PublicUrl = Field("", description="URL of Grafana for browsers: the dashboard links to it")

    @property
    def form_limit(self) -> int:
        """Most bytes of a form: it encodes most bytes of inputs with three, and its JSON is indented."""
        return 4 * self.inputs_limit
