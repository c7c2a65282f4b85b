"""Registers this executor in the list of agents, and sends its heartbeats. Both go to Postgres, because heartbeats over
NATS could be forged by every service.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import AgentTaken, UnknownAgent
from flowyard.errors.services import Unavailable
from flowyard.language.nodes import KINDS
from flowyard.language.providers import PROVIDERS
from flowyard.storage.agents import NewAgent
from flowyard_executor.parts import ExecutorParts

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 3.0
"""Short: `flowyard status` says within ten seconds that an executor doesn't answer any more."""
_AGAIN_S: Final = 2.0
_LEAVE_S: Final = 1.0


async def be_present(parts: ExecutorParts) -> None:
    """Registers, sends heartbeats, registers again if it was removed. Deregisters when cancelled."""
    known = False
    try:
        while True:
            known = await _show_itself(parts, known=known)
            await asyncio.sleep(HEARTBEAT_S if known else _AGAIN_S)
    finally:
        with suppress(FlowyardError, TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await parts.agents.deregister(parts.settings.executor_name)


async def _show_itself(parts: ExecutorParts, *, known: bool) -> bool:
    """Returns whether it is registered now."""
    me = parts.settings.executor_name
    with suppress(Unavailable):
        if known:
            with suppress(UnknownAgent, AgentTaken):
                load = {"slots": parts.settings.slots, "slots_used": len(parts.running)}
                await parts.agents.heartbeat(me, load, key_id=None)
                return True
        await parts.agents.register(_registration(parts))
        log.info("registered", extra={"agent": me})
        return True
    return False


def _registration(parts: ExecutorParts) -> NewAgent:
    me = parts.settings.executor_name
    can: dict[str, Any] = {"slots": parts.settings.slots, "nodes": list(KINDS), "providers": sorted(PROVIDERS)}
    return NewAgent(
        id=me, name=me, kind="executor", version=version("flowyard"), host=socket.gethostname(), capabilities=can
    )
