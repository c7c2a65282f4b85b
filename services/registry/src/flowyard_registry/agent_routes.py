"""The routes under `/v1/agents`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Path, Query, Response

from flowyard.access import Caller
from flowyard.api.agents import MOST_SLOTS, AgentId, AgentInfo, AgentKind, AgentPage, Heartbeat, Registration
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.errors.requests import AgentTaken, UnknownAgent
from flowyard.storage.agents import Agent, NewAgent
from flowyard.web.auth import ADMIN, READ, Acting, require
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_registry.parts import InjectedParts, RegistryParts

MayRun: TypeAlias = Annotated[Caller, Depends(require("run"))]
Id: TypeAlias = Annotated[AgentId, Path(description="The agent's id")]

router = APIRouter(prefix="/v1/agents", tags=["agents"], route_class=StrictJsonRoute)


@router.post(
    "",
    summary="Register an agent",
    description="The same id again updates the agent. An id belongs to the key that registered it.",
    responses={201: {"model": AgentInfo, "description": "A new agent"}, **guarded_responses(AgentTaken)},
)
async def register_agent(
    parts: InjectedParts, caller: MayRun, registration: Registration, response: Response
) -> AgentInfo:
    agent, is_new = await parts.agents.register(NewAgent(**registration.model_dump(), key_id=caller.key_id))
    if is_new:
        response.status_code = 201
        response.headers["location"] = f"/v1/agents/{agent.id}"
    return _info(parts, agent)


@router.post(
    "/{agent_id}/heartbeat",
    summary="Send a heartbeat of an agent",
    description="404 `unknown_agent`: the agent was removed, and has to register again.",
    responses=guarded_responses(UnknownAgent, AgentTaken),
)
async def heartbeat(parts: InjectedParts, caller: MayRun, agent_id: Id, load: Heartbeat) -> AgentInfo:
    values = load.model_dump(exclude_none=True)
    return _info(parts, await parts.agents.heartbeat(agent_id, values, key_id=caller.key_id))


@router.delete(
    "/{agent_id}",
    summary="Remove an agent",
    description="As it does itself when it stops. An agent that is still alive registers again.",
    status_code=204,
    **guarded(ADMIN, UnknownAgent),
)
async def deregister_agent(parts: InjectedParts, agent_id: Id, by: Acting) -> None:
    await parts.agents.deregister(agent_id, by=by)


@router.get(
    "",
    summary="List the agents",
    description="Those whose heartbeats haven't stopped. `next_cursor` is null on the last page.",
    **guarded(READ),
)
async def list_agents(
    parts: InjectedParts,
    *,
    cursor: Annotated[AgentId | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many agents at most")] = DEFAULT_LIMIT,
    kind: Annotated[AgentKind | None, Query(description="Only agents of this kind")] = None,
) -> AgentPage:
    agents = await parts.agents.page(after=cursor, limit=limit + 1, kind=kind)
    cursor_after = agents[limit - 1].id if len(agents) > limit else None
    return AgentPage(items=[_info(parts, agent) for agent in agents[:limit]], next_cursor=cursor_after)


@router.get(
    "/{agent_id}",
    summary="Get an agent",
    description="With its capabilities, and how many of its slots are used.",
    **guarded(READ, UnknownAgent),
)
async def get_agent(parts: InjectedParts, agent_id: Id) -> AgentInfo:
    return _info(parts, await parts.agents.get(agent_id))


def _info(parts: RegistryParts, agent: Agent) -> AgentInfo:
    intervals = {"ttl_s": parts.settings.agent_ttl_s, "heartbeat_s": parts.settings.agent_heartbeat_s}
    slots = {name: _count(agent, name) for name in ("slots", "slots_used")}
    return AgentInfo.model_validate({**asdict(agent), **slots, **intervals})


def _count(agent: Agent, name: str) -> int | None:
    """By the agent's last heartbeat; before its first, by its capabilities."""
    value: Any = agent.load.get(name, agent.capabilities.get(name))
    # A bool is an int, too.
    return value if type(value) is int and 0 <= value <= MOST_SLOTS else None
