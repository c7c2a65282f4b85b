"""The routes under `/v1/agents`."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path, Query, Response

from flowyard.api.agents import AgentId, AgentInfo, AgentKind, AgentPage, Heartbeat, Registration
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.errors.requests import AgentTaken, UnknownAgent
from flowyard.storage.agents import Agent, NewAgent
from flowyard.web.auth import ADMIN, READ, RUN
from flowyard.web.problems import guarded_responses
from flowyard_registry.parts import RegistryParts
from flowyard_registry.routing import InjectedParts

Id: TypeAlias = Annotated[AgentId, Path(description="The agent's id")]

router = APIRouter(prefix="/v1/agents", tags=["agents"])


@router.post(
    "",
    summary="Register an agent",
    description="Registering the same id again updates the agent.",
    dependencies=RUN,
    responses={201: {"model": AgentInfo, "description": "A new agent"}, **guarded_responses(AgentTaken)},
)
async def register_agent(parts: InjectedParts, registration: Registration, response: Response) -> AgentInfo:
    agent, is_new = await parts.agents.register(NewAgent(**registration.model_dump()))
    if is_new:
        response.status_code = 201
        response.headers["location"] = f"/v1/agents/{agent.id}"
    return _info(parts, agent)


@router.post(
    "/{agent_id}/heartbeat",
    summary="Send an agent's heartbeat",
    description="404 `unknown_agent`: it was forgotten, and has to register again.",
    dependencies=RUN,
    responses=guarded_responses(UnknownAgent),
)
async def heartbeat(parts: InjectedParts, agent_id: Id, request: Heartbeat) -> AgentInfo:
    return _info(parts, await parts.agents.heartbeat(agent_id, request.model_dump(exclude_none=True)))


@router.delete(
    "/{agent_id}",
    summary="Forget an agent",
    status_code=204,
    dependencies=ADMIN,
    responses=guarded_responses(UnknownAgent),
)
async def deregister_agent(parts: InjectedParts, agent_id: Id) -> None:
    await parts.agents.deregister(agent_id)


@router.get("", summary="All agents that are alive", dependencies=READ, responses=guarded_responses())
async def list_agents(
    parts: InjectedParts,
    *,
    cursor: Annotated[AgentId | None, Query(description="The `next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="The most that one page holds")] = DEFAULT_LIMIT,
    kind: Annotated[AgentKind | None, Query(description="Only those of this kind")] = None,
) -> AgentPage:
    agents = await parts.agents.page(after=cursor, limit=limit + 1, kind=kind)
    more = agents[limit - 1].id if len(agents) > limit else None
    return AgentPage(items=[_info(parts, agent) for agent in agents[:limit]], next_cursor=more)


@router.get("/{agent_id}", summary="An agent", dependencies=READ, responses=guarded_responses(UnknownAgent))
async def get_agent(parts: InjectedParts, agent_id: Id) -> AgentInfo:
    return _info(parts, await parts.agents.get(agent_id))


def _info(parts: RegistryParts, agent: Agent) -> AgentInfo:
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
    """From the last heartbeat; before the first one, from the registration."""
    value: Any = agent.load.get(name, agent.capabilities.get(name))
    return value if type(value) is int else None  # true and false are int, too
