"""The life of a stack: it starts, runs, and ends when it is told to."""

from __future__ import annotations

import asyncio
import time
from shlex import quote
from typing import Literal, TypeAlias

from flowyard_embedded.servers.faults import told_of
from flowyard_embedded.stack.journal import Journal
from flowyard_embedded.stack.order import Order
from flowyard_embedded.stack.output import Output
from flowyard_embedded.stack.screen import Screen
from flowyard_embedded.stack.services import url_of
from flowyard_embedded.stack.stack import Stack, ended_by_signals
from flowyard_embedded.stack.start import Started, Starting, start_stack

Outcome: TypeAlias = Literal["ended", "not started", "killed"]
"""A signal ended the stack, or its start, or a second one had to."""


async def live(order: Order) -> Outcome:
    """Starts the stack and keeps it running until a signal comes.

    For who holds the place. Raises FlowyardError if it can't be started; everything has ended then, too.
    """
    with told_of(order.place.path):
        order.place.logs.mkdir(mode=0o700, exist_ok=True)
    screen = Screen()
    output = Output(order.place.logs, screen, as_json=order.json_logs, width=len(f"executor-{order.executors}"))
    try:
        return await _live(order, screen, output)
    finally:
        output.close()


async def _live(order: Order, screen: Screen, output: Output) -> Outcome:
    stack = Stack(output)
    journal = Journal(order.place.state, stack, executors=order.executors)
    with ended_by_signals(stack) as ending:
        starting = asyncio.create_task(_start(Starting(order, stack, output, journal)))
        try:
            await _first_of(starting, ending.told)
            if starting.done():
                output.result(starting.result())
                if order.detached:
                    screen.leave()
                    order.detached()
                await stack.run_until(ending.told)
        finally:
            output.progress("flowyard: ending")
            journal.enter("ending")
            starting.cancel()
            await asyncio.wait([starting])
            await stack.end()
            journal.enter("ended")
    if ending.killed:
        return "killed"
    return "not started" if starting.cancelled() else "ended"


async def _start(start: Starting) -> str:
    """What the user is told when all is well."""
    begun = time.monotonic()
    start.output.progress(f"flowyard: starting in {start.order.place.path}")
    started = await start_stack(start)
    start.journal.enter("running")
    return _welcome(start.order, started, seconds=time.monotonic() - begun)


async def _first_of(starting: asyncio.Task[str], told: asyncio.Event) -> None:
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _welcome(order: Order, started: Started, *, seconds: float) -> str:
    gateway, dashboard = url_of(started.ports.gateway), url_of(started.ports.dashboard)
    key = started.key.get_secret_value() if started.key else None
    once = (
        [f"  API key     {key}", "              shown this once; the flowyard command uses it by itself"] if key else []
    )
    end = f"flowyard down --data {quote(str(order.place.path))}"
    return "\n".join(
        [
            f"flowyard: up after {seconds:.1f} s",
            f"  dashboard   {dashboard}",
            f"  API         {gateway}/v1   (described in {gateway}/openapi.json)",
            *once,
            f"  logs        {order.place.logs}",
            f"  to end it   {end}" if order.detached else f"  to end it   Ctrl-C, or elsewhere: {end}",
        ]
    )
