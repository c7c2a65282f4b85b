"""Handles the messages with which agents register, send heartbeats and leave over NATS."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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

# With several registries, each message goes to one of them.
_QUEUE: Final = "registry"


@asynccontextmanager
async def register_agents(parts: RegistryParts) -> AsyncIterator[None]:
    """While the block lasts. An agent without an answer sends its message again; an unknown one registers."""
    bus, handlers = parts.bus, _Handlers(parts)
    async with (
        bus.subscribe(subjects.AGENTS_REGISTER, AgentRegistration, _answer(handlers.register), queue=_QUEUE),
        bus.subscribe(subjects.ANY_AGENT_HEARTBEAT, AgentHeartbeat, _answer(handlers.heartbeat), queue=_QUEUE),
        bus.subscribe(subjects.ANY_AGENT_DEREGISTER, AgentDeparture, _answer(handlers.deregister), queue=_QUEUE),
    ):
        yield


class _Handlers:
    """Each handles one kind of message. Returns whether the agent is known afterwards."""

    def __init__(self, parts: RegistryParts) -> None:
        self._agents = parts.agents

    async def register(self, message: AgentRegistration) -> bool:
        try:
            # The same checks as over HTTP.
            registration = Registration.model_validate(message.model_dump())
        except ValidationError as error:
            problems = error.errors(include_input=False, include_context=False)
            fields = sorted({str(problem["loc"][0]) for problem in problems})
            log.warning("agent refused", extra={"agent": message.id, "fields": fields})
            return False
        try:
            _, is_new = await self._agents.register(NewAgent(**registration.model_dump()))
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


def _answer(handler: Callable[[M], Awaitable[bool]]) -> Handler[M]:
    async def handle(message: M) -> AgentReply | None:
        try:
            return AgentReply(known=await handler(message))
        except UnknownAgent:
            return AgentReply(known=False)
        except Unavailable as error:
            log.warning("can't answer an agent: %s", error.message)
            return None

    return handle
