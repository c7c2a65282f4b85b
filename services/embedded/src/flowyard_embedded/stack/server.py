"""Postgres or NATS as a process that is kept running, always on the port of its first start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from flowyard.errors import FlowyardError
from flowyard_embedded.servers.lifetime import Server, opened
from flowyard_embedded.stack.backoff import Backoff
from flowyard_embedded.stack.output import Output
from flowyard_embedded.stack.state import Part, PartState


class Listening(Server, Protocol):
    @property
    def port(self) -> int: ...


S = TypeVar("S", bound=Listening)
Start = Callable[[int | None, threading.Event], S]
"""Starts the server on this port, or any; gives up when the event is set."""


class KeptServer(Generic[S]):
    """`run` starts the server again whenever it ends, until it's cancelled; then it stops the server."""

    def __init__(self, name: str, *, ends: int, start: Start[S], output: Output, changed: Callable[[], None]) -> None:
        self.name = name
        self.ends = ends
        self._start = start
        self._output = output
        self._changed = changed
        self._server: S | None = None
        self._first: S | None = None
        self._fault: FlowyardError | None = None
        self._settled = asyncio.Event()
        self._state: PartState = "starting"
        self._starts = 0

    def part(self) -> Part:
        pid = self._server.process.pid if self._server else None
        return Part(self.name, self._state, pid, self._first.port if self._first else None, self._starts)

    async def ready(self) -> S:
        """The server as it was first started. Raises what kept it from starting."""
        await self._settled.wait()
        if self._fault:
            raise self._fault
        assert self._first is not None  # noqa: S101  # settled without a fault
        return self._first

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            healthy_s = await self._live()
            if self._fault:
                return
            delay = backoff.after(healthy_s)
            self._output.report("WARNING", f"{self.name} is started again", in_s=delay)
            await asyncio.sleep(delay)

    def kill(self) -> None:
        """By the firmest of its own ways, which is at once and leaves nobody behind."""
        if self._server:
            process = self._server.process
            process.child.send_signal(process.program.stop_signals[-1])

    async def _live(self) -> float:
        """One life of the server. For how many seconds it was there."""
        loop = asyncio.get_running_loop()
        self._starts += 1
        self._note("starting", None)
        try:
            async with opened(partial(self._start, self._first.port if self._first else None)) as server:
                self._began(server)
                begun = loop.time()
                code = await server.process.ended()
                self._output.report("ERROR", f"{self.name} has ended by itself", exit_code=code)
                return loop.time() - begun
        except FlowyardError as error:
            if self._first is None:
                self._fault = error
                self._settled.set()
            else:
                self._output.report("ERROR", error.message, code=error.code)
            return 0.0
        finally:
            self._note("down", None)

    def _began(self, server: S) -> None:
        self._note("healthy", server)
        if self._first is None:
            self._first = server
            self._settled.set()
        else:
            self._output.report("INFO", f"{self.name} is there again", pid=server.process.pid)

    def _note(self, state: PartState, server: S | None) -> None:
        self._state, self._server = state, server
        self._changed()
