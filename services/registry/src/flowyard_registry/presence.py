"""Agents that say over NATS that they are there."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from pydantic import ValidationError

from flowyard.api.agents import Registration
from flowyard.bus import subjects
from flowyard.bus.messages import AgentDeparture, AgentHeartbeat, AgentRegistration, AgentReply, M
from flowyard.bus.subscription import Handler
from flowyard.errors.requests import AgentTaken, UnknownAgent
from flowyard.errors.services import Unavailable
from flowyard.storage.agents import NewAgent
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

# Of several registries one answers.
_QUEUE: Final = "registry"


@asynccontextmanager
async def hears_agents(parts: RegistryParts) -> AsyncIterator[None]:
    """An agent that isn't answered asks again; one that isn't known is told so, and registers."""
    bus, told = parts.bus, _Told(parts)
    async with AsyncExitStack() as stack:
        for listening in (
            bus.subscribe(subjects.AGENTS_REGISTER, AgentRegistration, _answers(told.register), queue=_QUEUE),
            bus.subscribe(subjects.ANY_AGENT_HEARTBEAT, AgentHeartbeat, _answers(told.heartbeat), queue=_QUEUE),
            bus.subscribe(subjects.ANY_AGENT_DEREGISTER, AgentDeparture, _answers(told.deregister), queue=_QUEUE),
        ):
            await stack.enter_async_context(listening)
        yield


class _Told:
    """What becomes of each message. Whether the agent is known afterwards is the answer."""

    def __init__(self, parts: RegistryParts) -> None:
        self._agents = parts.agents

    async def register(self, message: AgentRegistration) -> bool:
        try:
            # As strict as over HTTP.
            given = Registration.model_validate(message.model_dump())
        except ValidationError as error:
            wrong = sorted({str(found["loc"][0]) for found in error.errors(include_input=False, include_context=False)})
            log.warning("agent refused", extra={"agent": message.id, "wrong": wrong})
            return False
        try:
            _, is_new = await self._agents.register(NewAgent(**given.model_dump()))
        except AgentTaken as error:
            log.warning("agent refused: %s", error.message, extra={"agent": message.id})
            return False
        log.info("agent registered", extra={"agent": message.id, "kind": message.kind, "is_new": is_new})
        return True

    async def heartbeat(self, message: AgentHeartbeat) -> bool:
        await self._agents.heartbeat(message.id, {"slots": message.slots, "slots_used": message.slots_used})
        return True

    async def deregister(self, message: AgentDeparture) -> bool:
        await self._agents.deregister(message.id)
        log.info("agent left", extra={"agent": message.id})
        return False


def _answers(told: Callable[[M], Awaitable[bool]]) -> Handler[M]:
    async def handle(message: M) -> AgentReply | None:
        try:
            return AgentReply(known=await told(message))
        except UnknownAgent:
            return AgentReply(known=False)
        except Unavailable as error:
            log.warning("agent not answered: %s", error.message)
            return None

    return handle
