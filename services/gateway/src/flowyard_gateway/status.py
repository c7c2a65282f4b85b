"""The route `GET /v1/status`: the state of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter

from flowyard.api.runs import money
from flowyard.api.status import ExecutorView, HolderView, LimitWaitView, QueueView, ServiceView, StatusView, TodayView
from flowyard.storage.agents import SILENT_S, Agent
from flowyard.storage.overview import Holder
from flowyard.storage.schema import VERSION
from flowyard.web.auth import READ
from flowyard.web.problems import guarded
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.other_services import TIMEOUT_S
from flowyard_gateway.parts import GatewayParts, InjectedParts

_MOST_EXECUTORS: Final = 1000

router = APIRouter(prefix="/v1", tags=["status"], route_class=StrictJsonRoute)


@router.get(
    "/status",
    summary="Show the state of the installation",
    description="Requests the state of the other services, with a timeout of two seconds. null: unknown.",
    **guarded(READ),
)
async def get_status(parts: InjectedParts) -> StatusView:
    return await status_of(parts, datetime.now(UTC))


async def status_of(parts: GatewayParts, now: datetime) -> StatusView:
    executors = [_executor(agent) for agent in await parts.agents.page(kind="executor", limit=_MOST_EXECUTORS)]
    holders = await parts.overview.holders()
    queue = await _queue(parts)
    own = ServiceView(name="gateway", healthy=True, version=version("flowyard"))
    servers = await _servers(parts)
    others, alerts = await asyncio.gather(parts.other_services.services(), parts.other_services.alerts())
    return StatusView(
        version=version("flowyard"),
        schema_version=VERSION,
        nats_connected=parts.bus.connected,
        services=[own, *servers, *others, _executors(executors, holders), *parts.sandboxes.views()],
        queue=queue,
        executors=executors,
        slots=sum(executor.slots or 0 for executor in executors),
        slots_used=sum(executor.slots_used or 0 for executor in executors),
        holders=[HolderView(executor=h.executor, runs=h.runs, lease_until=h.lease_until) for h in holders],
        limit_waits=[LimitWaitView.model_validate(asdict(waits)) for waits in await parts.overview.limit_waits()],
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
    connected = parts.bus.connected
    detail = "" if connected else "not connected: events arrive once a second, and tokens don't arrive"
    return [postgres, ServiceView(name="nats", healthy=connected, version=parts.bus.server_version, detail=detail)]


def _executors(executors: Sequence[ExecutorView], holders: Sequence[Holder]) -> ServiceView:
    """If no heartbeats arrive, the claimed runs show which executors are alive."""
    if executors:
        versions = ", ".join(sorted({executor.version for executor in executors}))
        healthy = all(executor.healthy for executor in executors)
        detail = "; ".join(f"{executor.name}: {executor.detail}" for executor in executors if not executor.healthy)
        return ServiceView(name="executor", healthy=healthy, version=versions, replicas=len(executors), detail=detail)
    counts = ", ".join(f"{holder.executor} {holder.runs}" for holder in holders)
    if holders:
        return ServiceView(name="executor", healthy=None, detail=f"no heartbeats arrive; claimed runs: {counts}")
    return ServiceView(name="executor", healthy=False, replicas=0, detail="none has registered: runs wait")


async def _today(parts: GatewayParts, since: datetime) -> TodayView | None:
    """None if counting takes too long: a status must be quick, however many runs there are."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
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
    is_silent = agent.silent_s > SILENT_S
    return ExecutorView(
        id=agent.id,
        name=agent.name,
        version=agent.version,
        host=agent.host,
        slots=_count(agent.load.get("slots", agent.capabilities.get("slots"))),
        slots_used=_count(agent.load.get("slots_used")),
        heartbeat_at=agent.heartbeat_at,
        healthy=not is_silent,
        detail=f"no heartbeat for {agent.silent_s:.0f} s" if is_silent else "",
    )


def _count(value: object) -> int | None:
    """None if the agent sent something else than a number."""
    return value if isinstance(value, int) else None
