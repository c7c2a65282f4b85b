"""The sandboxes that there are: known by their heartbeats, which come by NATS."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from flowyard.api.status import ServiceView
from flowyard.bus import subjects
from flowyard.bus.code_messages import SandboxAlive
from flowyard.bus.connection import Bus

SILENT_S: Final = 10.0
_FORGET_S: Final = 60.0
_MOST: Final = 100
"""More aren't remembered: each is a few hundred bytes that somebody else chooses."""


class KnownSandboxes:
    """`clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, tuple[SandboxAlive, float]] = {}

    async def receive(self, message: SandboxAlive) -> None:
        self._last.pop(message.name, None)
        if not message.leaving and len(self._last) < _MOST:
            self._last[message.name] = (message, self._clock())

    @asynccontextmanager
    async def following(self, bus: Bus) -> AsyncIterator[None]:
        async with bus.subscribe(subjects.SANDBOXES, SandboxAlive, self.receive):
            yield

    def views(self) -> list[ServiceView]:
        """A silent one is shown for a while, and for as long as there is no other."""
        now = self._clock()
        alive = any(now - at <= SILENT_S for _, at in self._last.values())
        self._last = {
            name: (message, at) for name, (message, at) in self._last.items() if not alive or now - at <= _FORGET_S
        }
        return list(self._views(now))

    def _views(self, now: float) -> Iterator[ServiceView]:
        for name, (message, at) in sorted(self._last.items()):
            is_silent = now - at > SILENT_S
            detail = f"no heartbeat for {now - at:.0f} s" if is_silent else message.fault or _load(message)
            healthy = not is_silent and not message.fault
            yield ServiceView(name=name, healthy=healthy, version=message.version, detail=detail)


def _load(message: SandboxAlive) -> str:
    if not message.running and not message.waiting:
        return ""
    return f"executes code of {message.running}, {message.waiting} wait"
