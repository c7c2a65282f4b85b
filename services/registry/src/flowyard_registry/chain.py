"""Chains the audit log: services write acts down without waiting for each other."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from flowyard.errors.services import Unavailable
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

_CHAIN_EVERY_S: Final = 1.0


async def chain_acts(parts: RegistryParts) -> NoReturn:
    """Puts what was written down for the audit log into its chain, until this task is cancelled."""
    while True:
        await asyncio.sleep(_CHAIN_EVERY_S)
        try:
            await parts.audit.chain()
        except Unavailable as error:
            log.warning("the audit log isn't chained: %s", error.message)
