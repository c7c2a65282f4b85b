"""The state of the installation."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Depends

from flowyard.api.status import ExecutorView, QueueView, StatusView
from flowyard.storage.agents import Agent
from flowyard.storage.schema import VERSION
from flowyard.web.auth import require
from flowyard_gateway.parts import Parts
from flowyard_gateway.run_routes import problems

_MOST_EXECUTORS: Final = 1000


def status_routes(parts: Parts) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["status"])

    @router.get(
        "/status",
        summary="How it is going",
        dependencies=[Depends(require("read"))],
        responses=problems(),
    )
    async def get_status() -> StatusView:
        return await status_of(parts)

    return router


async def status_of(parts: Parts) -> StatusView:
    runs = parts.control.runs
    depths = await runs.depths()
    executors = [_executor(agent) for agent in await parts.agents.page(kind="executor", limit=_MOST_EXECUTORS)]
    return StatusView(
        version=version("flowyard"),
        schema_version=VERSION,
        nats_connected=parts.bus.connected,
        queue=QueueView(
            queued=depths["queued"],
            running=depths["running"],
            waiting=depths["waiting"],
            oldest_queued_s=await runs.oldest_queued_s(),
            orphaned=await runs.orphaned(),
        ),
        executors=executors,
        slots=sum(executor.slots or 0 for executor in executors),
        slots_used=sum(executor.slots_used or 0 for executor in executors),
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


def _count(told: object) -> int | None:
    """Agents may say of themselves whatever they like."""
    return told if isinstance(told, int) else None
