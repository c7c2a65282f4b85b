"""The state of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter

from flowyard.api.runs import money
from flowyard.api.status import ExecutorView, HolderView, QueueView, ServiceView, StatusView, TodayView
from flowyard.storage.agents import Agent
from flowyard.storage.overview import Holder
from flowyard.storage.schema import VERSION
from flowyard.web.auth import READ
from flowyard.web.problems import guarded_responses
from flowyard_gateway.neighbours import WITHIN_S
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.routing import InjectedParts

_MOST_EXECUTORS: Final = 1000


router = APIRouter(prefix="/v1", tags=["status"])


@router.get(
    "/status",
    summary="The state of services, the queue and executors",
    description="Each service has two seconds to answer: what is unknown is null.",
    dependencies=READ,
    responses=guarded_responses(),
)
async def get_status(parts: InjectedParts) -> StatusView:
    return await status_of(parts, datetime.now(UTC))


async def status_of(parts: GatewayParts, now: datetime) -> StatusView:
    executors = [_executor(agent) for agent in await parts.agents.page(kind="executor", limit=_MOST_EXECUTORS)]
    holders = await parts.overview.holders()
    queue = await _queue(parts)
    mine = [ServiceView(name="gateway", healthy=True, version=version("flowyard")), *await _servers(parts)]
    neighbours, alerts = await asyncio.gather(parts.neighbours.services(), parts.neighbours.alerts())
    return StatusView(
        version=version("flowyard"),
        schema_version=VERSION,
        nats_connected=parts.bus.connected,
        services=[*mine, *neighbours, _executors(executors, holders, over_nats=parts.bus.connected)],
        queue=queue,
        executors=executors,
        slots=sum(executor.slots or 0 for executor in executors),
        slots_used=sum(executor.slots_used or 0 for executor in executors),
        holders=[HolderView(executor=h.executor, runs=h.runs, lease_until=h.lease_until) for h in holders],
        today=await _today(parts, now.replace(hour=0, minute=0, second=0, microsecond=0)),
        alerts=alerts,
    )


async def _queue(parts: GatewayParts) -> QueueView:
    measures = parts.control.queue_measures
    depths = await measures.depths()
    return QueueView(
        queued=depths["queued"],
        running=depths["running"],
        waiting=depths["waiting"],
        oldest_queued_s=await measures.oldest_queued_s(),
        orphaned=await measures.orphaned(),
    )


async def _servers(parts: GatewayParts) -> list[ServiceView]:
    postgres = ServiceView(
        name="postgres", healthy=True, version=await parts.database.server_version(), detail=f"schema {VERSION}"
    )
    is_there = parts.bus.connected
    detail = "" if is_there else "not connected: events come once a second, and tokens don't come"
    return [postgres, ServiceView(name="nats", healthy=is_there, version=parts.bus.server_version, detail=detail)]


def _executors(executors: Sequence[ExecutorView], holders: Sequence[Holder], *, over_nats: bool) -> ServiceView:
    """`over_nats`: whether heartbeats can arrive. Without any, executors are known by the runs that they hold."""
    if executors:
        versions = ", ".join(sorted({executor.version for executor in executors}))
        return ServiceView(name="executor", healthy=True, version=versions, replicas=len(executors))
    held = ", ".join(f"{holder.executor} holds {holder.runs}" for holder in holders)
    also = f"; by their runs: {held}" if held else ""
    if not over_nats:
        return ServiceView(name="executor", healthy=None, detail=f"NATS isn't connected: they can't be seen{also}")
    if holders:
        return ServiceView(name="executor", healthy=None, detail=f"no heartbeat came over NATS{also}")
    return ServiceView(name="executor", healthy=False, replicas=0, detail="none has registered: runs wait")


async def _today(parts: GatewayParts, since: datetime) -> TodayView | None:
    """None where there is too much to be counted in time: a status must be quick when there is most to do."""
    try:
        async with asyncio.timeout(WITHIN_S):
            today = await parts.overview.since(since)
    except TimeoutError:
        return None
    known = money(today.known_cost_usd)
    return TodayView(
        since=today.since,
        total=sum(today.runs.values()),
        runs=today.runs,
        calls=today.calls,
        cost_usd=None if today.unknown_cost else known,
        known_cost_usd=str(known),
        unknown_cost=today.unknown_cost,
    )


def _executor(agent: Agent) -> ExecutorView:
    return ExecutorView(
        id=agent.id,
        name=agent.name,
        version=agent.version,
        host=agent.host,
        slots=_count(agent.load.get("slots", agent.capabilities.get("slots"))),
        slots_used=_count(agent.load.get("slots_used")),
        heartbeat_at=agent.heartbeat_at,
    )


def _count(value: object) -> int | None:
    """None if it is no number: agents send what they like."""
    return value if isinstance(value, int) else None
