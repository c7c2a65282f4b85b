"""All that runs, and the order in which it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from flowyard_embedded.stack.output import Output
from flowyard_embedded.stack.state import Part

END_WITHIN_S: Final = 9.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Kept(Protocol):
    """A process that is kept running. `ends`: those with the lowest number end first, and together."""

    name: str
    ends: int

    async def run(self) -> None: ...

    def kill(self) -> None: ...

    def part(self) -> Part: ...


class Stack:
    def __init__(self, output: Output) -> None:
        self._output = output
        self._kept: dict[Kept, asyncio.Task[None]] = {}

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(kept.part() for kept in self._kept)

    def start(self, kept: Kept) -> None:
        self._kept[kept] = asyncio.create_task(kept.run(), name=kept.name)

    async def run_until(self, told: asyncio.Event) -> None:
        waiting = asyncio.create_task(told.wait())
        done, _ = await asyncio.wait([waiting, *self._kept.values()], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done:
            # Nobody gives up keeping his process running: if one does, that is a bug, to be raised here.
            task.result()

    async def end(self) -> None:
        """Ends everything in order; what takes too long is killed."""
        loop = asyncio.get_running_loop()
        killing = loop.call_later(END_WITHIN_S, self.kill)
        for ends in sorted({kept.ends for kept in self._kept}):
            together = [kept for kept in self._kept if kept.ends == ends]
            names, begun = ", ".join(kept.name for kept in together), loop.time()
            await self._end(together)
            self._output.progress(f"  {names}: ended after {loop.time() - begun:.1f} s")
        killing.cancel()

    def kill(self) -> None:
        for kept in self._kept:
            kept.kill()

    async def _end(self, together: list[Kept]) -> None:
        tasks = [self._kept[kept] for kept in together]
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


class Ending:
    """Set by the first signal; the second kills. `killed` tells that there was one."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.killed = False


@contextmanager
def ended_by_signals(stack: Stack) -> Iterator[Ending]:
    loop, ending = asyncio.get_running_loop(), Ending()

    def tell() -> None:
        if ending.told.is_set():
            ending.killed = True
            stack.kill()
        ending.told.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, tell)
    try:
        yield ending
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
