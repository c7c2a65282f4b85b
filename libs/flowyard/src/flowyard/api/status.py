"""The state of an installation, as `flowyard status` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field


class ServiceView(BaseModel):
    """A part of the installation. null: unknown, or there is none."""

    name: str
    healthy: bool | None
    version: str | None = None
    address: str | None = None
    replicas: Annotated[int | None, Field(description="How many of it there are")] = None
    detail: Annotated[str, Field(description="A remark, or what is wrong")] = ""


class ExecutorView(BaseModel):
    """An executor that has registered. null: no heartbeat has said so yet."""

    id: str
    name: str
    version: str
    host: str
    slots: int | None
    slots_used: int | None
    heartbeat_at: datetime


class HolderView(BaseModel):
    """An executor that holds runs, according to Postgres: it is alive, even if its heartbeats don't arrive."""

    executor: str
    runs: int
    lease_until: datetime


class QueueView(BaseModel):
    """Runs that aren't finished."""

    queued: int
    running: int
    waiting: int
    oldest_queued_s: Annotated[float, Field(description="For how many seconds the oldest queued run has been waiting")]
    orphaned: Annotated[int, Field(description="Runs that no executor will ever take: anything but 0 is a defect")]


class TodayView(BaseModel):
    """The day so far, in UTC: the runs that were submitted, by what they are now, and the model calls that ended."""

    since: datetime
    total: Annotated[int, Field(description="Runs")]
    runs: Annotated[Mapping[str, int], Field(description="How many there are of each status")]
    calls: int
    cost_usd: Annotated[
        str | None, Field(description="A decimal number, in US dollars; exact. null: the cost of some is unknown")
    ]
    known_cost_usd: Annotated[str, Field(description="As `cost_usd`, of the calls whose cost is known")]
    unknown_cost: Annotated[int, Field(description="Calls whose cost is unknown")]


class AlertView(BaseModel):
    """An alert that fires. `labels` are all others that it has."""

    name: str
    severity: str | None
    summary: str | None
    since: datetime | None
    labels: Mapping[str, str]


class AlertsView(BaseModel):
    """What Prometheus says. `unreachable`: why it says nothing; then `firing` is null, which isn't none."""

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
    today: Annotated[TodayView | None, Field(description="null: too much to be counted within two seconds")] = None
    alerts: Annotated[AlertsView | None, Field(description="null: the gateway knows of no Prometheus")] = None
