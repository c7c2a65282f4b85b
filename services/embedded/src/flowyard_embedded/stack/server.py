"""Postgres or NATS as a supervised process, always on the port of its first start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic

from flowyard.errors.base import FlowyardError
from flowyard_embedded.servers.lifetime import S, opened
from flowyard_embedded.stack.asking import greets
from flowyard_embedded.stack.output import StackOutput
from flowyard_embedded.stack.stack import keep_running
from flowyard_embedded.stack.state import ProcessState, ProcessStatus

Start = Callable[[int | None, threading.Event], S]
"""Starts the server on this port, or on any; gives up when the event is set."""


class SupervisedServer(Generic[S]):
    def __init__(
        self,
        name: str,
        *,
        end_order: int,
        start: Start[S],
        hello: bytes,
        output: StackOutput,
        changed: Callable[[], None],
    ) -> None:
        """`hello`: bytes that the server answers, whoever sends them."""
        self.name = name
        self.end_order = end_order
        self._start = start
        self._hello = hello
        self._output = output
        self._changed = changed
        self._server: S | None = None
        self._first: S | None = None
        self._error: FlowyardError | None = None
        self._settled = asyncio.Event()
        self._state: ProcessState = "starting"
        self._starts = 0

    def status(self) -> ProcessStatus:
        pid = self._server.process.pid if self._server else None
        return ProcessStatus(self.name, self._state, pid, self._first.port if self._first else None, self._starts)

    async def ready(self) -> S:
        """The server as it was first started. Raises the error that kept it from starting."""
        await self._settled.wait()
        if self._error:
            raise self._error
        assert self._first is not None  # noqa: S101  # settled without an error
        return self._first

    async def run(self) -> None:
        await keep_running(self.name, self._live, gave_up=lambda: self._error is not None, output=self._output)

    def kill(self) -> None:
        """Sends the last of the server's own stop signals: it ends at once, with its child processes."""
        if self._server:
            process = self._server.process
            process.child.send_signal(process.program.stop_signals[-1])

    async def _live(self) -> float:
        """Starts the server and waits for its end. Returns the seconds for which it ran."""
        loop = asyncio.get_running_loop()
        self._starts += 1
        self._change("starting", None)
        try:
            async with opened(partial(self._start, self._first.port if self._first else None)) as server:
                self._change("healthy", server)
                if self._first is None:
                    self._first = server
                    self._settled.set()
                else:
                    self._output.log("INFO", f"{self.name} is running again", pid=server.process.pid)
                begun = loop.time()
                watching = asyncio.create_task(self._watch(server))
                try:
                    code = await server.process.ended()
                finally:
                    watching.cancel()
                self._output.log("ERROR", f"{self.name} has ended by itself", exit_code=code)
                return loop.time() - begun
        except FlowyardError as error:
            if self._first is None:
                self._error = error
                self._settled.set()
            else:
                self._output.log("ERROR", error.message, code=error.code)
            return 0.0
        finally:
            self._change("down", None)

    async def _watch(self, server: S) -> None:
        """Says whether it answers. It isn't killed: a server that is busy with its disk must not lose its work."""
        async for answers in greets(server.port, self._hello):
            state: ProcessState = "healthy" if answers else "silent"
            if state != self._state:
                self._change(state, server)

    def _change(self, state: ProcessState, server: S | None) -> None:
        self._state, self._server = state, server
        self._changed()
