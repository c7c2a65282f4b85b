"""Registers this executor with the registry, and sends its heartbeats."""

from __future__ import annotations

import asyncio
import logging
import socket
from importlib.metadata import version
from typing import Any, Final

from flowyard.bus.messages import AgentDeparture, AgentHeartbeat, AgentRegistration, AgentReply
from flowyard.language.nodes import KINDS
from flowyard.language.providers import PROVIDERS
from flowyard_executor.parts import ExecutorParts

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 20.0
_AGAIN_S: Final = 2.0


async def be_present(parts: ExecutorParts) -> None:
    """Registers, sends a heartbeat every 20 s, registers again if the registry asks so. Deregisters when cancelled."""
    me = parts.settings.executor_name
    known = False
    try:
        while True:
            message = _heartbeat(parts) if known else _registration(parts)
            reply = await parts.bus.request(message, AgentReply)
            if reply is not None and reply.known and not known:
                log.info("registered", extra={"agent": me})
            known = reply.known if reply is not None else known
            await asyncio.sleep(HEARTBEAT_S if known and reply is not None else _AGAIN_S)
    finally:
        parts.bus.publish(AgentDeparture(id=me))


def _registration(parts: ExecutorParts) -> AgentRegistration:
    me = parts.settings.executor_name
    can: dict[str, Any] = {"slots": parts.settings.slots, "nodes": list(KINDS), "providers": sorted(PROVIDERS)}
    return AgentRegistration(
        id=me, name=me, kind="executor", version=version("flowyard"), host=socket.gethostname(), capabilities=can
    )


def _heartbeat(parts: ExecutorParts) -> AgentHeartbeat:
    return AgentHeartbeat(id=parts.settings.executor_name, slots=parts.settings.slots, slots_used=len(parts.running))
