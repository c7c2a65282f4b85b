"""The supervised processes of a stack: how they are kept running, and in which order they end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from flowyard_embedded.stack.output import StackOutput
from flowyard_embedded.stack.state import ProcessStatus

END_WITHIN_S: Final = 9.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_STEADY_S: Final = 10.0
"""A process that was healthy for so long is started again after the first, short pause."""


class Supervised(Protocol):
    """A process that is kept running. `end_order`: processes with the lowest number end first, and together."""

    name: str
    end_order: int

    async def run(self) -> None:
        """Keeps it running until the task is cancelled, then ends it."""

    def kill(self) -> None: ...

    def status(self) -> ProcessStatus: ...


class Backoff:
    """The pauses before a process is started again: each twice as long as the one before."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE_S

    def after(self, healthy_s: float) -> float:
        """The pause in seconds. `healthy_s`: how long the process was healthy before it ended."""
        if healthy_s >= _STEADY_S:
            self._next = _FIRST_PAUSE_S
        delay, self._next = self._next, min(2 * self._next, _LONGEST_PAUSE_S)
        return delay


async def keep_running(
    name: str, live: Callable[[], Awaitable[float]], *, gave_up: Callable[[], bool], output: StackOutput
) -> None:
    """Starts a process again and again, with pauses, until it is cancelled or `gave_up`.

    `live`: starts the process and waits for its end; returns for how many seconds it was healthy.
    """
    backoff = Backoff()
    while True:
        healthy_s = await live()
        if gave_up():
            return
        delay = backoff.after(healthy_s)
        output.log("WARNING", f"{name} is started again", in_s=delay)
        await asyncio.sleep(delay)


class Stack:
    def __init__(self, output: StackOutput) -> None:
        self._output = output
        self._tasks: dict[Supervised, asyncio.Task[None]] = {}

    def statuses(self) -> tuple[ProcessStatus, ...]:
        return tuple(process.status() for process in self._tasks)

    def start(self, process: Supervised) -> None:
        self._tasks[process] = asyncio.create_task(process.run(), name=process.name)

    async def run_until(self, ending: asyncio.Event) -> None:
        waiting = asyncio.create_task(ending.wait())
        done, _ = await asyncio.wait([waiting, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done:
            # A supervising task never returns while the stack runs. If one did, this raises its error here.
            task.result()

    async def end(self) -> None:
        """Ends everything in order. After END_WITHIN_S, kills what is left."""
        loop = asyncio.get_running_loop()
        killing = loop.call_later(END_WITHIN_S, self.kill)
        for number in sorted({process.end_order for process in self._tasks}):
            together = [process for process in self._tasks if process.end_order == number]
            names, begun = ", ".join(process.name for process in together), loop.time()
            await self._end(together)
            self._output.show_progress(f"  {names}: ended after {loop.time() - begun:.1f} s")
        killing.cancel()

    def kill(self) -> None:
        for process in self._tasks:
            process.kill()

    async def _end(self, together: list[Supervised]) -> None:
        tasks = [self._tasks[process] for process in together]
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


class Ending:
    """`requested` is set by the first signal; the second signal kills all processes and sets `killed`."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.killed = False


@contextmanager
def ended_by_signals(stack: Stack) -> Iterator[Ending]:
    loop, ending = asyncio.get_running_loop(), Ending()

    def on_signal() -> None:
        if ending.requested.is_set():
            ending.killed = True
            stack.kill()
        ending.requested.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield ending
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
