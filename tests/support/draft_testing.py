"""What an executor does for a registry, without its runs: it runs the tests of drafts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowyard.bus.connection import open_bus
from flowyard.drafts.testing import serve_draft_tests
from flowyard.language.installation import ANY
from support.waiting import eventually


@asynccontextmanager
async def serving_draft_tests(nats_url: str) -> AsyncIterator[None]:
    async with open_bus(nats_url, name="executor") as bus:
        await eventually(lambda: bus.connected)
        async with serve_draft_tests(bus, lambda: ANY):
            yield
