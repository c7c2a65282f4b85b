"""The sandbox's process."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final, NoReturn

from flowyard.bus import subjects
from flowyard.bus.code_messages import CodeFollow, CodeRequest, CodeStop, SandboxAlive
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.program_messages import ProgramEnded, ProgramRequest
from flowyard.language.nodes import CodeTier
from flowyard.service.own_name import own_name
from flowyard.service.process import run_service, serve_until
from flowyard.settings import read_settings
from flowyard.telemetry.metrics import Metrics
from flowyard_sandbox.app import ABOUT, fault_of, sandbox_app
from flowyard_sandbox.desk import Desk
from flowyard_sandbox.pool import Pool, WorkerKind, open_pool
from flowyard_sandbox.programs import run_program
from flowyard_sandbox.python_wasm import PythonMissing, compiled_python
from flowyard_sandbox.settings import SandboxSettings

_QUEUE: Final = "sandboxes"
_WORKER_MB: Final = 512
"""What a worker takes besides the memory of the code."""
_MIB: Final = 1 << 20
_HEARTBEAT_S: Final = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SandboxParts:
    settings: SandboxSettings
    name: str
    metrics: Metrics
    bus: Bus
    desk: Desk


def main() -> None:
    settings = read_settings(SandboxSettings, sys.argv[1:], program="flowyard-sandbox", about=ABOUT)
    sys.exit(run_service("sandbox", settings, partial(run_sandbox, settings)))


async def run_sandbox(
    settings: SandboxSettings, ending: asyncio.Event, *, on_listening: Callable[[int], None] | None = None
) -> None:
    """Runs until `ending` is set. Calls `on_listening` with the port once it listens. Raises CannotListen."""
    async with _parts(settings) as parts:
        bus, desk, metrics = parts.bus, parts.desk, parts.metrics
        # A question is kept for a while, so there are as many of them as jobs.
        subscribe = partial(bus.subscribe, at_once=settings.sandbox_queue + 1000)
        own = subjects.fill(subjects.ANY_SANDBOX, desk.sandbox)
        async with (
            _taking_programs(parts),
            subscribe(own, CodeFollow, desk.follow),
            bus.subscribe(subjects.CODE_STOP, CodeStop, desk.stop),
            subscribe(subjects.CODE_RUN, CodeRequest, desk.accept, queue=_QUEUE),
        ):
            app = sandbox_app(desk, bus, metrics, ending)
            loops = (desk.drop_forgotten(), _be_present(parts))
            await serve_until(ending, app, settings, metrics=metrics.process, loops=loops, on_listening=on_listening)
            await desk.close(within_s=settings.grace_s)
        bus.publish(_alive(parts, leaving=True))


@asynccontextmanager
async def _taking_programs(parts: SandboxParts) -> AsyncIterator[None]:
    """If the setting names any: else nobody is there for the requests."""
    programs = parts.settings.shell_programs
    if not programs:
        yield
        return

    async def run(request: ProgramRequest) -> ProgramEnded:
        return await run_program(request, programs)

    at_once = parts.settings.sandbox_workers
    async with parts.bus.subscribe(subjects.PROGRAM_RUN, ProgramRequest, run, queue=_QUEUE, at_once=at_once):
        yield


@asynccontextmanager
async def _parts(settings: SandboxSettings) -> AsyncIterator[SandboxParts]:
    name = settings.sandbox_name or own_name("sandbox")
    metrics = Metrics(service="sandbox", version=version("flowyard"), name=name)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(
            open_bus(
                settings.nats_url.get_secret_value(),
                name=name,
                on_drop=lambda reason, _kind: metrics.bus.dropped.labels(reason).inc(),
                on_connect=metrics.bus.reconnects.inc,
            )
        )
        metrics.bus.connected.set_function(lambda: float(bus.connected))
        pools: dict[CodeTier, Pool] = {}
        faults: dict[CodeTier, str] = {}
        for tier in settings.sandbox_tiers:
            try:
                kind = await _kind(tier, settings)
            except (PythonMissing, ValueError, OSError) as error:
                log.warning("no code of this tier is executed", extra={"tier": tier, "error": str(error)})
                faults[tier] = str(error)
                continue
            replaced = metrics.sandbox.replaced.labels(tier).inc
            pools[tier] = await stack.enter_async_context(
                open_pool(kind, size=settings.sandbox_workers, on_replaced=replaced)
            )
            _measure(metrics, tier, pools[tier])
        desk = Desk(
            secrets.token_hex(8), pools, settings.code_bounds, settings.sandbox_queue, metrics.sandbox, faults=faults
        )
        yield SandboxParts(settings, name, metrics, bus, desk)


async def _kind(tier: CodeTier, settings: SandboxSettings) -> WorkerKind:
    memory = (settings.sandbox_memory_mb + _WORKER_MB) * _MIB
    files = [str(await asyncio.to_thread(compiled_python))] if tier == "full" else []
    return WorkerKind(tier=tier, memory=memory, files=files)


def _measure(metrics: Metrics, tier: CodeTier, pool: Pool) -> None:
    sandbox = metrics.sandbox
    sandbox.workers.labels(tier).set_function(lambda: pool.workers)
    sandbox.waiting.labels(tier).set_function(lambda: pool.waiting)
    sandbox.running.labels(tier).set_function(lambda: pool.running)
    sandbox.replaced.labels(tier)


async def _be_present(parts: SandboxParts) -> NoReturn:
    """Sends heartbeats, for `flowyard status`."""
    desk, confined = parts.desk, parts.metrics.sandbox.confined
    while True:
        parts.bus.publish(_alive(parts))
        workers = [pool.worker for pool in desk.pools.values() if pool.worker is not None]
        if workers:
            confined.labels("landlock").set(min(worker.landlock > 0 for worker in workers))
            confined.labels("seccomp").set(min(worker.seccomp for worker in workers))
        await asyncio.sleep(_HEARTBEAT_S)


def _alive(parts: SandboxParts, *, leaving: bool = False) -> SandboxAlive:
    desk = parts.desk
    return SandboxAlive(
        name=parts.name,
        sandbox=desk.sandbox,
        version=version("flowyard"),
        workers=sum(pool.workers for pool in desk.pools.values()),
        waiting=desk.waiting,
        running=desk.running,
        fault=fault_of(desk),
        leaving=leaving,
    )


if __name__ == "__main__":
    main()
