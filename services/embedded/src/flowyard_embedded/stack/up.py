"""The life of a stack, in this process or in the background: it starts, runs, and ends on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from shlex import quote
from typing import Final, Literal, TypeAlias

from flowyard_embedded.faults import needed_directory
from flowyard_embedded.stack.output import Screen, StackOutput
from flowyard_embedded.stack.services import url_of
from flowyard_embedded.stack.stack import Stack, ended_by_signals
from flowyard_embedded.stack.start import StackOptions, Started, Starting, start_stack
from flowyard_embedded.stack.state import StateFile

Outcome: TypeAlias = Literal["ended", "not started", "killed"]
"""`killed`: a second signal was needed."""

_HEALTHY: Final = b"+"


def in_background(work: Callable[[Callable[[], None]], int]) -> int:
    """Runs `work` in a child process. `work` gets a function to call when the stack is healthy.

    Returns twice, as fork does. In this process: 0 once the function was called, or the exit code of the child if it
    ended before. In the child: what `work` returned. Must be called while there are no other threads. Ctrl-C ends the
    child.
    """
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        return work(partial(_signal_healthy, writing))
    os.close(writing)
    try:
        if os.read(reading, 1) == _HEALTHY:
            return 0
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _signal_healthy(writing: int) -> None:
    os.write(writing, _HEALTHY)
    os.close(writing)


async def live(options: StackOptions) -> Outcome:
    """Starts the stack and keeps it running until a signal comes.

    The caller must hold the place. Raises FlowyardError if the stack can't be started; all its processes have ended
    then.
    """
    with needed_directory(options.place.path):
        options.place.logs.mkdir(mode=0o700, exist_ok=True)
    screen, width = Screen(), len(f"executor-{options.executors}")
    output = StackOutput(options.place.logs, screen, as_json=options.json_logs, width=width)
    stack = Stack(output)
    with closing(output), ended_by_signals(stack) as ending:
        state = StateFile(options.place.state, stack.statuses, executors=options.executors)
        watching = asyncio.create_task(output.watch())
        starting = asyncio.create_task(_start(Starting(options, stack, output, state)))
        try:
            waiting = asyncio.create_task(ending.requested.wait())
            await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if starting.done():
                output.show_result(starting.result())
                if options.detached:
                    screen.leave()
                    options.detached()
                await stack.run_until(ending.requested)
        finally:
            output.show_progress("flowyard: ending")
            state.enter("ending")
            starting.cancel()
            await asyncio.wait([starting])
            await stack.end()
            watching.cancel()
            state.enter("ended")
    if ending.killed:
        return "killed"
    return "not started" if starting.cancelled() else "ended"


async def _start(start: Starting) -> str:
    """Returns the text to show when the stack is healthy."""
    begun = time.monotonic()
    start.output.show_progress(f"flowyard: starting in {start.options.place.path}")
    started = await start_stack(start)
    start.state.enter("running")
    return _welcome(start.options, started, seconds=time.monotonic() - begun)


def _welcome(options: StackOptions, started: Started, *, seconds: float) -> str:
    gateway, dashboard = url_of(started.ports.gateway), url_of(started.ports.dashboard)
    key = started.key.get_secret_value() if started.key else None
    once = (
        f"  API key     {key}\n              shown this once; the flowyard command uses it by itself\n" if key else ""
    )
    end = f"flowyard down --data {quote(str(options.place.path))}"
    return (
        f"flowyard: up after {seconds:.1f} s\n"
        f"  dashboard   {dashboard}\n"
        f"  chat        {gateway}/chat\n"
        f"  API         {gateway}/v1   (described in {gateway}/openapi.json)\n"
        f"{once}"
        f"  logs        {options.place.logs}\n"
        f"  to stop it  {'' if options.detached else 'Ctrl-C, or elsewhere: '}{end}"
    )
