"""Announces the tools of this executor that aren't built in, so that documents which name them can be checked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias

from flowyard.errors.services import Unavailable
from flowyard.language.tools import ToolFacts
from flowyard.storage.announced_tools import AGAIN_S
from flowyard_executor.parts import ExecutorParts

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0

Tools: TypeAlias = Mapping[str, tuple[ToolFacts, ...]]
"""By the names of their sources."""


async def announce_tools(parts: ExecutorParts) -> NoReturn:
    """Again and again: when they have changed, and before they would be forgotten. Until this task is cancelled.

    They stay announced when the executor ends: while it is started anew, documents that name them are accepted.
    """
    said: Tools | None = None
    due, clock = 0.0, asyncio.get_running_loop().time
    while True:
        tools = parts.attempt.tools.facts_of_sources
        if tools is not said or clock() >= due:
            try:
                await announce(parts, tools)
                said, due = tools, clock() + AGAIN_S
            except Unavailable:
                log.warning("can't announce tools: Postgres is unreachable")
        await asyncio.sleep(_LOOK_S)


async def announce(parts: ExecutorParts, tools: Tools) -> None:
    """Raises Unavailable."""
    sources = {source: [facts.data for facts in each] for source, each in tools.items()}
    await parts.announced_tools.announce(parts.settings.executor_name, sources)
    if sources:
        log.info("tools announced", extra={"tools": sorted(f.name for each in tools.values() for f in each)})
