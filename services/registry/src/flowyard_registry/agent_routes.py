"""The routes under `/v1/agents`."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Path, Query, Response

from flowyard.api.agents import AgentId, AgentInfo, AgentKind, AgentPage, Heartbeat, Registration
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.errors import AgentTaken, Forbidden, Unauthorized, Unavailable, UnknownAgent
from flowyard.storage.agents import Agent, NewAgent
from flowyard.web.auth import require
from flowyard.web.problems import problem_responses
from flowyard_registry.parts import Parts

_GUARDED: Final = (Unauthorized, Forbidden, Unavailable)
_READ: Final = [Depends(require("read"))]
_RUN: Final = [Depends(require("run"))]
_ADMIN: Final = [Depends(require("admin"))]

Id: TypeAlias = Annotated[AgentId, Path(description="The agent's id")]


def agent_routes(parts: Parts) -> APIRouter:
    router = APIRouter(prefix="/v1/agents", tags=["agents"])
    _add_presence(router, parts)
    _add_views(router, parts)
    return router


def _add_presence(router: APIRouter, parts: Parts) -> None:
    @router.post(
        "",
        summary="Register an agent",
        description="Again, with the same id, it brings what is known of the agent up to date.",
        dependencies=_RUN,
        responses={201: {"model": AgentInfo, "description": "A new agent"}, **problem_responses(*_GUARDED, AgentTaken)},
    )
    async def register_agent(registration: Registration, response: Response) -> AgentInfo:
        agent, is_new = await parts.agents.register(NewAgent(**registration.model_dump()))
        if is_new:
            response.status_code = 201
            response.headers["location"] = f"/v1/agents/{agent.id}"
        return _info(parts, agent)

    @router.post(
        "/{agent_id}/heartbeat",
        summary="Say that an agent lives",
        description="404 `unknown_agent`: it was forgotten, and has to register again.",
        dependencies=_RUN,
        responses=problem_responses(*_GUARDED, UnknownAgent),
    )
    async def heartbeat(agent_id: Id, told: Heartbeat) -> AgentInfo:
        return _info(parts, await parts.agents.heartbeat(agent_id, told.model_dump(exclude_none=True)))

    @router.delete(
        "/{agent_id}",
        summary="Forget an agent",
        status_code=204,
        dependencies=_ADMIN,
        responses=problem_responses(*_GUARDED, UnknownAgent),
    )
    async def deregister_agent(agent_id: Id) -> None:
        await parts.agents.deregister(agent_id)


def _add_views(router: APIRouter, parts: Parts) -> None:
    @router.get("", summary="All agents that are there", dependencies=_READ, responses=problem_responses(*_GUARDED))
    async def list_agents(
        *,
        cursor: Annotated[AgentId | None, Query(description="The `next_cursor` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST, description="The most that one page holds")] = DEFAULT_LIMIT,
        kind: Annotated[AgentKind | None, Query(description="Only those of this kind")] = None,
    ) -> AgentPage:
        found = await parts.agents.page(after=cursor, limit=limit + 1, kind=kind)
        more = found[limit - 1].id if len(found) > limit else None
        return AgentPage(items=[_info(parts, agent) for agent in found[:limit]], next_cursor=more)

    @router.get(
        "/{agent_id}", summary="An agent", dependencies=_READ, responses=problem_responses(*_GUARDED, UnknownAgent)
    )
    async def get_agent(agent_id: Id) -> AgentInfo:
        return _info(parts, await parts.agents.get(agent_id))


def _info(parts: Parts, agent: Agent) -> AgentInfo:
    return AgentInfo(
        id=agent.id,
        name=agent.name,
        kind=agent.kind,
        version=agent.version,
        host=agent.host,
        capabilities=dict(agent.capabilities),
        slots=_count(agent, "slots"),
        slots_used=_count(agent, "slots_used"),
        registered_at=agent.registered_at,
        heartbeat_at=agent.heartbeat_at,
        ttl_s=parts.settings.agent_ttl_s,
        heartbeat_s=parts.settings.agent_heartbeat_s,
    )


def _count(agent: Agent, name: str) -> int | None:
    """What the last heartbeat told, or before the first one: what the agent says of itself."""
    told: Any = agent.load.get(name, agent.capabilities.get(name))
    return told if type(told) is int else None  # true and false are int, too
