"""A service as a process that is kept running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from flowyard_embedded.stack.backoff import Backoff
from flowyard_embedded.stack.faults import ServiceFailed
from flowyard_embedded.stack.health import until_healthy
from flowyard_embedded.stack.output import Output
from flowyard_embedded.stack.state import Part, PartState

_FIRST_TRIES: Final = 3
_CHUNK: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 20
_LAST_WORDS_S: Final = 0.5


@dataclass(frozen=True)
class ServiceSpec:
    """`environment`: all of it. `ends`: when, compared with the others; `patience_s`: how long that may take.

    `port`: where it answers `/health/ready` with 200 once it can do its work; the first time it has to within
    `healthy_within_s`.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    ends: int
    patience_s: float
    healthy_within_s: float = 30.0


class Service:
    """`run` starts the process again whenever it ends, until it's cancelled; then it ends the process."""

    def __init__(self, spec: ServiceSpec, output: Output, changed: Callable[[], None]) -> None:
        self.name = spec.name
        self.ends = spec.ends
        self._spec = spec
        self._output = output
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._state: PartState = "down"
        self._starts = 0
        self._settled = asyncio.Event()
        self._fault: ServiceFailed | None = None

    def part(self) -> Part:
        pid = self._process.pid if self._process else None
        return Part(self.name, self._state, pid, self._spec.port, self._starts)

    async def ready(self) -> None:
        """Waits for it to be healthy for the first time. Raises ServiceFailed."""
        try:
            async with asyncio.timeout(self._spec.healthy_within_s):
                await self._settled.wait()
        except TimeoutError as error:
            raise self._failed(f"wasn't healthy within {self._spec.healthy_within_s:g} s") from error
        if self._fault:
            raise self._fault

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            healthy_s = await self._live()
            if not self._settled.is_set() and self._starts == _FIRST_TRIES:
                self._fault = self._failed(f"ended {_FIRST_TRIES} times before it was healthy")
                self._settled.set()
                return
            delay = backoff.after(healthy_s)
            self._output.report("WARNING", f"{self.name} is started again", in_s=delay)
            await asyncio.sleep(delay)

    def kill(self) -> None:
        """With all that it started."""
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _live(self) -> float:
        """One life of the process. For how many seconds it was healthy."""
        healthy = asyncio.create_task(self._until_healthy())
        try:
            async with self._started() as process:
                code = await process.wait()
            self._output.report("ERROR", f"{self.name} has ended by itself", exit_code=code)
        except OSError as error:
            self._output.report("ERROR", f"{self.name} can't be started: {error.strerror}")
        finally:
            healthy.cancel()
        return asyncio.get_running_loop().time() - healthy.result() if healthy.done() else 0.0

    async def _until_healthy(self) -> float:
        """The loop's time by then."""
        await until_healthy(self._spec.port)
        self._note("healthy")
        if self._settled.is_set():
            self._output.report("INFO", f"{self.name} is healthy again")
        self._settled.set()
        return asyncio.get_running_loop().time()

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, in a session of its own: Ctrl-C is for us. At the end of the block it has ended."""
        self._starts += 1
        process = await asyncio.create_subprocess_exec(
            *self._spec.command,
            env=dict(self._spec.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._process = process
        self._note("starting")
        heard = asyncio.create_task(self._hear(process))
        try:
            yield process
        finally:
            await self._end(process)
            # Somebody whom it started may have its output still, and keep it.
            await asyncio.wait([heard], timeout=_LAST_WORDS_S)
            heard.cancel()
            self._process = None
            self._note("down")

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._spec.patience_s)
            except TimeoutError:
                self._output.report("WARNING", f"{self.name} is killed: it hasn't ended in time")
        self.kill()
        await process.wait()

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  # asked for above
        rest = b""
        while chunk := await process.stdout.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            if lines:
                self._output.lines(self.name, lines)
        if rest:
            self._output.lines(self.name, [rest])

    def _note(self, state: PartState) -> None:
        self._state = state
        self._changed()

    def _failed(self, detail: str) -> ServiceFailed:
        return ServiceFailed(self.name, detail, said=self._output.last_lines(self.name))
