"""Shapes of `GET /v1/status`, the state of an installation, and of `GET /health/ready` of every service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field


class ServiceView(BaseModel):
    """A service of the installation. null: unknown, or the service has no such value."""

    name: str
    healthy: bool | None
    version: str | None = None
    address: str | None = None
    replicas: Annotated[int | None, Field(description="How many instances there are")] = None
    detail: Annotated[str, Field(description="A remark, or what is wrong")] = ""


class ExecutorView(BaseModel):
    """A registered executor. null: unknown until its first heartbeat.

    `healthy`: it has sent a heartbeat within the last ten seconds.
    """

    id: str
    name: str
    version: str
    host: str
    slots: int | None
    slots_used: int | None
    heartbeat_at: datetime
    healthy: bool = True
    detail: Annotated[str, Field(description="A remark, or what is wrong")] = ""


class HolderView(BaseModel):
    """An executor that has claimed runs, by Postgres: it is alive, even if its heartbeats don't arrive."""

    executor: str
    runs: int
    lease_until: datetime


class QueueView(BaseModel):
    """How many runs are open."""

    queued: int
    running: int
    waiting: int
    oldest_queued_s: Annotated[float, Field(description="For how many seconds the oldest queued run has waited")]
    orphaned: Annotated[int, Field(description="Open runs that no process will ever continue: anything but 0 is a bug")]


class TodayView(BaseModel):
    """Today, in UTC: the submitted runs by their current status, and the model calls that have ended."""

    since: datetime
    total: Annotated[int, Field(description="How many runs")]
    runs: Annotated[Mapping[str, int], Field(description="How many runs have each status")]
    calls: int
    cost_usd: Annotated[
        str | None, Field(description="A decimal number, in US dollars; exact. null: the cost of some is unknown")
    ]
    known_cost_usd: Annotated[str, Field(description="As `cost_usd`, of the calls whose cost is known")]
    unknown_cost: Annotated[int, Field(description="Calls whose cost is unknown")]


class LimitWaitView(BaseModel):
    """Calls that have waited for a limit on model calls for more than a second, and still wait."""

    limit: Annotated[
        str,
        Field(
            description="A provider, a provider and a key's variable, a workflow and a model, or a model after a 429"
        ),
    ]
    calls: int
    longest_s: Annotated[float, Field(description="For how many seconds the first of them has waited")]
    rate_limited: Annotated[bool, Field(description="The provider's answer 429 has slowed the calls down")] = False


class AlertView(BaseModel):
    """A firing alert. `labels`: its labels except name and severity."""

    name: str
    severity: str | None
    summary: str | None
    since: datetime | None
    labels: Mapping[str, str]


class AlertsView(BaseModel):
    """Alerts of Prometheus. `unreachable`: why they are unknown; then `firing` is null."""

    firing: list[AlertView] | None
    unreachable: str | None


class StatusView(BaseModel):
    version: str
    schema_version: str
    nats_connected: bool
    services: list[ServiceView] = []
    queue: QueueView
    executors: list[ExecutorView]
    slots: Annotated[int, Field(description="Runs that all executors together may execute at once")]
    slots_used: int
    holders: list[HolderView] = []
    limit_waits: Annotated[list[LimitWaitView], Field(description="The limits that model calls wait for")] = []
    today: Annotated[TodayView | None, Field(description="null: counting took longer than two seconds")] = None
    alerts: Annotated[AlertsView | None, Field(description="null: no Prometheus is configured")] = None


class CheckView(BaseModel):
    """Something that the service needs to be ready. `detail`: a remark, or what is wrong."""

    name: str
    ok: bool
    detail: str


class HealthView(BaseModel):
    """`ready`: all checks pass, and the service isn't shutting down. `version`: None from an older version."""

    version: str | None = None
    ready: bool
    draining: bool
    checks: list[CheckView]
