"""How a service runs: logs, signals, HTTP, and the loops that run meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from starlette.types import ASGIApp

from flowyard.service.watchdog import watched_loop
from flowyard.settings import ProcessSettings
from flowyard.tasks import cancel
from flowyard.telemetry.logs import setup_logs
from flowyard.telemetry.metrics import ProcessMetrics
from flowyard.web.connections import ConnectionLimits
from flowyard.web.process import ends_on_signals, run_process
from flowyard.web.serve import serve

_OBJECTS_PER_COLLECTION: Final = 10_000
"""New objects that garbage may be among: a few MB."""


def run_service(name: str, settings: ProcessSettings, run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Runs `run` until it returns; the first SIGINT or SIGTERM sets the event. Returns the process's exit code.

    A watchdog ends the process with HUNG if its event loop hangs.
    """

    async def until_signalled() -> None:
        ending = asyncio.Event()
        with watched_loop(), ends_on_signals(ending):
            await run(ending)

    setup_logs(name, settings.log_level)
    collect_garbage_seldom()
    return run_process(until_signalled())


def collect_garbage_seldom() -> None:
    """For a process that runs for long, once it has imported its modules."""
    # They stay: a full garbage collection would look through them for a tenth of a second.
    gc.freeze()
    # Python's own 700 is for scripts: with it, an executor spends a seventh of its time on collections.
    gc.set_threshold(_OBJECTS_PER_COLLECTION)


async def serve_until(
    ending: asyncio.Event,
    app: ASGIApp,
    settings: ProcessSettings,
    *,
    metrics: ProcessMetrics,
    loops: Iterable[Coroutine[Any, Any, None]] = (),
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serves HTTP until `ending` is set, and cancels `loops` after that. A loop that fails ends the service.

    `on_listening` is called with the port. Raises CannotListen.
    """
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(loop) for loop in (metrics.watch_loop_lag(), *loops)]
        await serve(
            app,
            host=settings.host,
            port=settings.port,
            grace_s=settings.grace_s,
            limits=ConnectionLimits(settings.connections_limit),
            shutting_down=ending,
            on_listening=on_listening,
        )
        await cancel(running)
