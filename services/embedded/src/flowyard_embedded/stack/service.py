"""A service as a supervised process, which is asked again and again how it is. If it doesn't answer, it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from flowyard_embedded.faults import ServiceFailed
from flowyard_embedded.servers.accounts import SystemAccount, run_as
from flowyard_embedded.stack.asking import is_alive, is_ready
from flowyard_embedded.stack.output import StackOutput
from flowyard_embedded.stack.stack import keep_running
from flowyard_embedded.stack.state import ProcessState, ProcessStatus

_FIRST_TRIES: Final = 3
_MOST_SILENCES: Final = 3
"""A process that so often in a row doesn't answer in time hangs: after nine seconds at most, it is killed."""
_LISTENS_WITHIN_S: Final = 90.0


@dataclass(frozen=True)
class ServiceSpec:
    """How to run a service. `environment` is complete: nothing of ours is added.

    `port`: where it answers `/health/ready` with 200 when it can work; that must first happen within
    `healthy_within_s`. `end_order`: as in Supervised. `patience_s`: how long it may take to end before it is killed.
    `account`: that it runs as; None: that of this process.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    end_order: int
    patience_s: float
    healthy_within_s: float = 30.0
    account: SystemAccount | None = None


class SupervisedService:
    def __init__(self, spec: ServiceSpec, output: StackOutput, changed: Callable[[], None]) -> None:
        self.name = spec.name
        self.end_order = spec.end_order
        self._spec = spec
        self._output = output
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._leash: socket.socket | None = None
        self._state: ProcessState = "down"
        self._starts = 0
        self._settled = asyncio.Event()
        self._error: ServiceFailed | None = None
        self._healthy_at: float | None = None

    def status(self) -> ProcessStatus:
        pid = self._process.pid if self._process else None
        return ProcessStatus(self.name, self._state, pid, self._spec.port, self._starts)

    async def ready(self) -> None:
        """Waits for it to be healthy for the first time. Raises ServiceFailed."""
        try:
            async with asyncio.timeout(self._spec.healthy_within_s):
                await self._settled.wait()
        except TimeoutError as error:
            raise self._failed(f"wasn't healthy within {self._spec.healthy_within_s:g} s") from error
        if self._error:
            raise self._error

    async def run(self) -> None:
        await keep_running(self.name, self._live, gave_up=self._gave_up, output=self._output)

    def kill(self) -> None:
        """Kills the process with all its child processes."""
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _live(self) -> float:
        """Starts the process and waits for its end. Returns the seconds for which it was healthy."""
        self._healthy_at = None
        try:
            async with self._started() as process:
                watching = asyncio.create_task(self._watch())
                try:
                    code = await process.wait()
                finally:
                    watching.cancel()
            self._output.log("ERROR", f"{self.name} has ended by itself", exit_code=code)
        except OSError as error:
            self._output.log("ERROR", f"{self.name} can't be started: {error.strerror}")
        return self._healthy_s()

    def _healthy_s(self) -> float:
        return asyncio.get_running_loop().time() - self._healthy_at if self._healthy_at is not None else 0.0

    def _gave_up(self) -> bool:
        """True if the process has ended too often before it was ever healthy."""
        if self._settled.is_set() or self._starts < _FIRST_TRIES:
            return False
        self._error = self._failed(f"ended {_FIRST_TRIES} times before it was healthy")
        self._settled.set()
        return True

    async def _watch(self) -> None:
        """Asks the process again and again how it is. Kills it if it hangs."""
        if await self._becomes_healthy():
            await self._until_it_hangs()
        self._output.log("ERROR", f"{self.name} doesn't answer: it is killed")
        self.kill()

    async def _becomes_healthy(self) -> bool:
        """False if it hangs before that."""
        loop, silences = asyncio.get_running_loop(), 0
        begun = loop.time()
        async for answer in is_ready(self._spec.port):
            if answer == "yes":
                break
            silences = silences + 1 if answer == "silent" else 0
            if silences == _MOST_SILENCES or (answer == "nothing listens" and loop.time() - begun > _LISTENS_WITHIN_S):
                return False
        self._healthy_at = loop.time()
        self._change("healthy")
        if self._settled.is_set():
            self._output.log("INFO", f"{self.name} is healthy again")
        self._settled.set()
        return True

    async def _until_it_hangs(self) -> None:
        silences = 0
        async for answer in is_alive(self._spec.port):
            silences = silences + 1 if answer in ("silent", "nothing listens") else 0
            state: ProcessState = "silent" if silences else "healthy"
            if state != self._state:
                self._change(state)
            if silences == _MOST_SILENCES:
                return

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, in a session of its own: Ctrl-C is for the supervisor. Ends it at the end of the block.

        It has the other end of our leash, see there, and appends its output to its log file.
        """
        self._starts += 1
        self._leash, theirs = socket.socketpair()
        self._leash.settimeout(0)
        with self._leash:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *self._spec.command,
                    env=dict(self._spec.environment),
                    stdin=theirs.fileno(),
                    stdout=self._output.open_log(self.name, self._give_log),
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    **run_as(self._spec.account),
                )
            self._process = process
            self._change("starting")
            try:
                yield process
            finally:
                await self._end(process)
                self._output.end_log(self.name)
                self._process = None
                self._change("down")

    def _give_log(self, descriptor: int) -> None:
        """The process is to write to this file from now on."""
        if self._leash is not None:
            # It may have ended just now.
            with suppress(OSError):
                socket.send_fds(self._leash, [b"log"], [descriptor])

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._spec.patience_s)
            except TimeoutError:
                self._output.log("WARNING", f"{self.name} is killed: it didn't end in time")
        self.kill()
        await process.wait()

    def _change(self, state: ProcessState) -> None:
        self._state = state
        self._changed()

    def _failed(self, detail: str) -> ServiceFailed:
        return ServiceFailed(self.name, detail, last_lines=self._output.last_lines(self.name))
