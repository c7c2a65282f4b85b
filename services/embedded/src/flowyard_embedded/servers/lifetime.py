"""A running server, and its life as a block of a coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from flowyard_embedded.servers.process import ServerProcess


class RunningServer(Protocol):
    @property
    def process(self) -> ServerProcess: ...

    @property
    def port(self) -> int: ...


S = TypeVar("S", bound=RunningServer)


@asynccontextmanager
async def opened(start: Callable[[threading.Event], S]) -> AsyncIterator[S]:
    """Starts a server in a thread, and stops it at the end of the block. `start` gives up when its event is set.

    Raises what `start` raises.
    """
    give_up = threading.Event()
    starting = asyncio.create_task(asyncio.to_thread(start, give_up))
    try:
        server = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A thread can't be cancelled: the server that it may still start has to be stopped.
        give_up.set()
        (outcome,) = await asyncio.gather(starting, return_exceptions=True)
        if not isinstance(outcome, BaseException):
            await asyncio.to_thread(outcome.process.stop)
        raise
    try:
        yield server
    finally:
        await asyncio.to_thread(server.process.stop)
