"""The state of an installation, as `flowyard status` prints it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field


class ExecutorView(BaseModel):
    """An executor that has registered. null: its heartbeats haven't told yet."""

    id: str
    name: str
    version: str
    host: str
    slots: int | None
    slots_used: int | None
    heartbeat_at: datetime


class QueueView(BaseModel):
    """Runs that aren't finished."""

    queued: int
    running: int
    waiting: int
    oldest_queued_s: Annotated[float, Field(description="For how many seconds the oldest queued run has been waiting")]
    orphaned: Annotated[int, Field(description="Runs that nobody will ever touch again: anything but 0 is a defect")]


class StatusView(BaseModel):
    version: str
    schema_version: str
    nats_connected: bool
    queue: QueueView
    executors: list[ExecutorView]
    slots: Annotated[int, Field(description="Runs that all executors together may execute at once")]
    slots_used: int
