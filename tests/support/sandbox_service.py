"""Sandboxes as processes of their own, and an executor's way to them, over a NATS of their own with its permissions."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from flowyard.bus import subjects
from flowyard.bus.code_messages import SandboxAlive
from flowyard.bus.connection import Bus, open_bus
from flowyard.language.code_bounds import CodeBounds
from flowyard.language.nodes import CodeLimits, CodeTier
from flowyard.service.sandboxes import Sandboxes
from flowyard.steps.code_runner import CodeCall, CodeResult
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.servers.ports import free_port
from flowyard_embedded.stack.start import USERS
from support.servers import temporary_home
from support.waiting import eventually

BYTES: Final = 768 * 1024


def call(
    code: str, inputs: str = "{}", *, tier: CodeTier = "fast", timeout: float = 10.0, memory_mb: int = 128
) -> CodeCall:
    return CodeCall(code, inputs, CodeLimits(tier, timeout, memory_mb), BYTES)


@dataclass
class RunningSandbox:
    process: asyncio.subprocess.Process
    port: int

    async def metric(self, name: str) -> float:
        """The sum over its labels."""
        async with httpx.AsyncClient(trust_env=False) as http:
            page = (await http.get(f"http://127.0.0.1:{self.port}/metrics")).text
        lines = [line.split() for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line[-1]) for line in lines)

    async def end(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


@dataclass
class Place:
    """`bus`: that of an executor. `alive`: the heartbeats so far."""

    nats: NatsServer
    bus: Bus
    alive: list[SandboxAlive] = field(default_factory=list)

    async def run(self, work: CodeCall, *, patience_s: float = 20.0, bounds: CodeBounds | None = None) -> CodeResult:
        return await Sandboxes(self.bus, bounds or CodeBounds(), patience_s=patience_s).run(work)

    @asynccontextmanager
    async def sandbox(self, **settings: Any) -> AsyncIterator[RunningSandbox]:
        """A sandbox that takes code."""
        port = free_port()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "FLOWYARD_NATS_URL": self.nats.url("sandbox").get_secret_value(),
            "FLOWYARD_PORT": str(port),
            **{f"FLOWYARD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        known = {each.sandbox for each in self.alive}
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "flowyard_sandbox.main", env=env)
        try:
            await eventually(lambda: {each.sandbox for each in self.alive} - known, within_s=40)
            yield RunningSandbox(process, port)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@contextmanager
def running_nats() -> Iterator[NatsServer]:
    with temporary_home() as home:
        nats = start_nats(home / "nats", users=USERS)
        try:
            yield nats
        finally:
            nats.process.stop()


@asynccontextmanager
async def open_place(nats: NatsServer) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:

        def opened(user: str) -> Callable[[], Any]:
            return lambda: stack.enter_async_context(open_bus(nats.url(user).get_secret_value(), name=user))

        bus, others = await opened("executor")(), await opened("gateway")()
        await eventually(lambda: bus.connected and others.connected)
        place = Place(nats, bus)

        async def alive(message: SandboxAlive) -> None:
            place.alive.append(message)

        await stack.enter_async_context(others.subscribe(subjects.SANDBOXES, SandboxAlive, alive))
        yield place
