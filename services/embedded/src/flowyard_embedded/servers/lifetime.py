"""The life of a server as a block of a coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from flowyard_embedded.servers.process import ServerProcess


class Server(Protocol):
    @property
    def process(self) -> ServerProcess: ...


S = TypeVar("S", bound=Server)


@asynccontextmanager
async def opened(start: Callable[[threading.Event], S]) -> AsyncIterator[S]:
    """Starts a server without holding up the loop, and stops it at the end. `start` gives up when its event is set.

    Raises what `start` raises.
    """
    give_up = threading.Event()
    starting = asyncio.create_task(asyncio.to_thread(start, give_up))
    try:
        server = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # The thread goes on whatever becomes of us: what it started must not be forgotten.
        give_up.set()
        (outcome,) = await asyncio.gather(starting, return_exceptions=True)
        if not isinstance(outcome, BaseException):
            await asyncio.to_thread(outcome.process.stop)
        raise
    try:
        yield server
    finally:
        await asyncio.to_thread(server.process.stop)
